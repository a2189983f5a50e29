"""Settings: whatever a variable holds becomes a value of its type within its bounds, or one line that names it."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import api.settings
import cache.settings
from polka.service import settings
from polka.service.failure import Failure

Kind = type[api.settings.Settings] | type[cache.settings.Settings]
KINDS: list[Kind] = [api.settings.Settings, cache.settings.Settings]
FIELDS = [(kind, field.name) for kind in KINDS for field in msgspec.structs.fields(kind)]
NEEDED = {"POLKA_DATABASE_URL": "postgresql://x"}
MAY_BE_ZERO = ("cache_spacing_seconds", "drain_seconds", "audit_seconds", "metrics_banks_max")
"""What can be none at all. A timeout cannot: Postgres would take it as one without end."""

texts = (
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
    | st.integers(-(10**30), 10**30).map(str)
    | st.floats().map(str)
    | st.sampled_from(["true", "False", "1", "0", "yes", "inf", "-inf", "nan", "null", "", " 5", "5 ", "1_0", "٣"])
)


@given(st.sampled_from(FIELDS), texts)
@example((api.settings.Settings, "commit_timeout_seconds"), "inf")
@example((api.settings.Settings, "commit_timeout_seconds"), "nan")
@example((api.settings.Settings, "commit_timeout_seconds"), "1e-9")
@example((cache.settings.Settings, "flush_payments_max"), "1" + "0" * 30)
@example((cache.settings.Settings, "flush_payments_max"), "0")
@example((cache.settings.Settings, "flush_timeout_seconds"), "0")
@example((cache.settings.Settings, "audit_seconds"), "0")
@example((cache.settings.Settings, "metrics_banks_max"), "0")
def test_a_variable_holds_a_value_that_can_be_or_is_named_in_one_line(field: tuple[Kind, str], text: str) -> None:
    kind, name = field
    variable = f"POLKA_{name.upper()}"
    try:
        value = getattr(settings.read(kind, NEEDED | {variable: text}), name)
    except Failure as failure:
        value = failure
    match value:
        case Failure():
            assert re.fullmatch(rf"{variable}: [^\n]+\.", str(value))
        case bool():
            assert text.lower() in ("true", "1") if value else text.lower() in ("false", "0")
        case int():
            assert value == float(text)  # `1.0` is one
            assert (0 if name in MAY_BE_ZERO else 1) <= value < 2**31
        case float():
            assert value == float(text)
            assert (0 if name in MAY_BE_ZERO else 0.001) <= value < 2**31 / 1000
        case str():
            assert value == text
        case _:
            pytest.fail(f"{value!r} is nothing that a variable can hold")


@pytest.mark.parametrize("kind", KINDS)
def test_a_variable_that_is_needed_is_named(kind: Kind) -> None:
    with pytest.raises(Failure, match=r"^POLKA_DATABASE_URL is not set\.$"):
        settings.read(kind, {})


def test_variables_of_others_change_nothing() -> None:
    others: dict[str, Any] = {"FLUSH_SECONDS": "5", "POLKA_NOTHING": "x", "polka_flush_seconds": "7"}
    assert settings.read(cache.settings.Settings, NEEDED | others) == cache.settings.Settings("postgresql://x")
