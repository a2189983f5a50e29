"""A bank's terms as rules: what a merge patch makes of them, and what terms cannot be."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polka.rules import policy
from polka.rules.policy import Fee, Interest, Terms, TermsError, amended, merged

RFC_7396 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]
"""The test cases of its appendix A."""


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396, ids=json.dumps)
def test_a_merge_patch_is_that_of_the_rfc(target: Any, patch: Any, result: Any) -> None:
    assert merged(target, patch) == result


@pytest.fixture
def all_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every term may be changed, also one that does nothing yet."""
    monkeypatch.setattr(policy, "TermsPatch", Terms)


def test_a_currency_alone_is_changed_and_the_others_stay(all_offered: None) -> None:
    before = Terms({"USD": 10, "EUR": 20}, "sending", {"USD": Fee(5, 10, 2, 50)}, {"USD": Interest(500, 100)})
    patch = {"caps": {"USD": 30, "EUR": None}, "fees": {"USD": {"maximum": None}, "EUR": {"fixed": 1}}}
    assert amended(before, patch) == Terms(
        {"USD": 30}, "sending", {"USD": Fee(5, 10, 2), "EUR": Fee(1)}, {"USD": Interest(500, 100)}
    )


def test_null_takes_a_term_away(all_offered: None) -> None:
    before = Terms({"USD": 10}, "both", {"USD": Fee(1)}, {"USD": Interest(1)})
    assert amended(before, dict.fromkeys(Terms.__struct_fields__)) == Terms()


REFUSED = [
    ({"colour": 1}, ""),
    ({"suspended": "maybe"}, "suspended"),
    ({"suspended": 1}, "suspended"),
    ({"caps": 5}, "caps"),
    ({"caps": {"USD": -1}}, "caps.USD"),
    ({"caps": {"USD": 10**15 + 1}}, "caps.USD"),
    ({"caps": {"USD": 10**30}}, "caps.USD"),
    ({"caps": {"USD": 1.5}}, "caps.USD"),
    ({"caps": {"USD": True}}, "caps.USD"),
    ({"caps": {"USD": {"amount": 1}}}, "caps.USD"),
    ({"caps": {"XXX": 1}}, "caps.XXX"),
    ({"caps": {"usd": 1}}, "caps.usd"),
    ({"fees": {"USD": {"basis_points": 10_001}}}, "fees.USD.basis_points"),
    ({"fees": {"USD": {"fixed": "1"}}}, "fees.USD.fixed"),
    ({"fees": {"USD": {"flat": 1}}}, "fees.USD"),
    ({"fees": {"USD": {"minimum": 2, "maximum": 1}}}, "fees.USD"),
    ({"interest": {"USD": {"debit_basis_points": 100_001}}}, "interest.USD.debit_basis_points"),
    ({"interest": {"USD": {"credit_basis_points": -1}}}, "interest.USD.credit_basis_points"),
]


@pytest.mark.parametrize(("patch", "place"), REFUSED, ids=str)
def test_terms_that_cannot_be_are_refused_at_their_place(all_offered: None, patch: dict[str, Any], place: str) -> None:
    with pytest.raises(TermsError) as refused:
        amended(Terms(), patch)
    assert refused.value.place == place


currencies = st.sampled_from(["USD", "EUR", "JPY"])
caps = st.dictionaries(currencies, st.integers(0, 10**15))


@given(caps, st.dictionaries(currencies, st.none() | st.integers(0, 10**15)))
def test_caps_after_a_patch_are_those_before_with_its_own(before: dict[str, int], patch: dict[str, int | None]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(policy, "TermsPatch", Terms)
        after = amended(Terms(before), {"caps": patch}).caps
    for currency in ("USD", "EUR", "JPY"):
        expected = patch[currency] if currency in patch else before.get(currency)
        assert after.get(currency) == expected
