"""A password in a database's URL is shown by nobody, whatever form the URL has."""

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polka.local.up import address_of
from polka.service.failure import Failure
from polka.store import database

PASSWORD = "se1cr8et"
NOWHERE = "127.0.0.1:1"
FORMS = [
    f"postgresql://u:{PASSWORD}@{NOWHERE}/db",
    f"postgresql://u:{PASSWORD}@{NOWHERE}",
    f"postgresql://{NOWHERE}/db?user=u&password={PASSWORD}",
    f"postgresql:///db?host=127.0.0.1&port=1&user=u&password={PASSWORD}",
    f"postgresql://u:#{PASSWORD}@{NOWHERE}/db",
    f"postgresql://u:12#{PASSWORD}@{NOWHERE}/db",
    f"postgresql://u:{PASSWORD}#1@{NOWHERE}/db",
    f"postgresql://u:{PASSWORD}/x@{NOWHERE}/db",
    f"postgresql://u:12/{PASSWORD}@{NOWHERE}/db",
    f"postgresql://u:{PASSWORD}?x@{NOWHERE}/db",
    f"postgresql://u:x@{PASSWORD}@{NOWHERE}/db",
    f"postgresql://u:[{PASSWORD}@{NOWHERE}/db",
    f"postgresql://[{PASSWORD}/db",
    f"postgresql://u:{PASSWORD}",
    f"postgresql://{NOWHERE}/db?{PASSWORD}",
    f"{PASSWORD}://u@{NOWHERE}",
    f"host=127.0.0.1 port=1 user=u password={PASSWORD} dbname=db",
    f"password={PASSWORD}",
]


@pytest.mark.parametrize("url", FORMS)
def test_no_part_of_it_is_shown_as_the_address(url: str) -> None:
    assert PASSWORD not in (address_of(url) or "")


@pytest.mark.parametrize("url", FORMS)
def test_no_part_of_it_is_in_what_a_command_says(url: str) -> None:
    with pytest.raises(Failure) as failure:
        asyncio.run(database.reach(url))
    assert re.match("The database (does not answer|URL is not valid): ", str(failure.value))
    assert PASSWORD not in str(failure.value)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgresql://u:p@db.example:5432/polka?sslmode=require", "db.example:5432/polka"),
        ("postgres://db.example", "db.example"),
        ("postgresql://u@one:5432,two:5433/polka", "one:5432,two:5433/polka"),
        ("postgresql://u:p@[::1]:5432/polka", "[::1]:5432/polka"),
        ("postgresql://postgres@/postgres?host=/var/run/postgresql", None),
    ],
)
def test_a_plain_url_shows_where_the_database_is(url: str, address: str | None) -> None:
    assert address_of(url) == address


TEXT = st.text("ab/?#@:%&=.,[] ", max_size=8)


@given(TEXT, TEXT)
def test_no_password_of_any_characters_is_shown(before: str, after: str) -> None:
    password = f"{before}{PASSWORD}{after}"
    for url in (f"postgresql://u:{password}@db.example/polka", f"postgresql://db.example/polka?password={password}"):
        assert PASSWORD not in (address_of(url) or "")
