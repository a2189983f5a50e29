"""Searching, against a plain filter over the same rows."""

import asyncio
import itertools
import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urljoin, urlsplit
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.routes import search
from api.routes.search import LIMIT_MAX, Search
from running import Running
from searches import all_found, searching
from services import Services, client, payment

BANKS = ["north", "south", "east", "west bank"]
ACCOUNTS = ["A1", "A2", "B1", "B2"]
CURRENCIES = ["USD", "EUR", "JPY"]
REFERENCES = ["Rent", "März €", "100%", "a b"]
BEGAN = datetime(2026, 1, 31, 22, tzinfo=UTC)
LATE = timedelta(minutes=5)
SKEW = timedelta(minutes=5) - timedelta(seconds=1)
BATCH = UUID("01900000-0000-7000-8000-000000000000")

Row = dict[str, Any]


def random_rows(count: int) -> list[Row]:
    """Payments of two hours, newest first. Some are committed as late as can be, or by a clock that is behind."""
    chance = random.Random(4)
    rows = []
    for number in range(count):
        arrived_at = BEGAN + timedelta(hours=2) * chance.random()
        sender, receiver = chance.sample([(bank, account) for bank in BANKS for account in ACCOUNTS], 2)
        rows.append(
            {
                "id": UUID(int=search.first_id(arrived_at, 0).int | number),
                "batch": BATCH,
                "sender_bank": sender[0],
                "sender_account": sender[1],
                "receiver_bank": receiver[0],
                "receiver_account": receiver[1],
                "amount": chance.choice([1, 2, 3, 10, 10**15]),
                "currency": chance.choice(CURRENCIES),
                "reference": chance.choice([None, None, *REFERENCES]),
                "status": chance.choice(["accepted", "accepted", "deleted"]),
                "created_at": arrived_at + chance.choice([timedelta(), LATE + SKEW, -SKEW]),
            }
        )
    return sorted(rows, key=lambda row: row["id"], reverse=True)


ROWS = random_rows(2_000)


async def insert(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "INSERT INTO batches (id, state, size, flush, posted_at) VALUES ($1, 'posted', 2000, 1, now())", BATCH
        )
        records = [tuple(row.values()) for row in ROWS]
        await connection.copy_records_to_table("transactions", records=records, columns=list(ROWS[0]))
    finally:
        await connection.close()


class Searched(NamedTuple):
    """An api over the rows, and its database."""

    url: str
    database_url: str


@pytest.fixture(scope="module")
def searched(make_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searched]:
    services = Services(make_database(), tmp_path_factory.mktemp("search"))
    asyncio.run(insert(services.database_url))
    try:
        yield Searched(f"{services.api().ready().url}/transactions", services.database_url)
    finally:
        services.stop()


def matches(row: Row, name: str, wanted: Any, parameters: Row) -> bool:
    """What a parameter means, as plainly as it can be said."""
    sides = [(row["sender_bank"], row["sender_account"]), (row["receiver_bank"], row["receiver_account"])]
    match name:
        case "bank":
            return any(bank == wanted for bank, _ in sides)
        case "account":
            return any(account == wanted and parameters.get("bank", bank) == bank for bank, account in sides)
        case "amount_min":
            return bool(row["amount"] >= wanted)
        case "amount_max":
            return bool(row["amount"] <= wanted)
        case "from":
            return bool(row["created_at"] >= datetime.fromisoformat(wanted))
        case "to":
            return bool(row["created_at"] < datetime.fromisoformat(wanted))
        case _:
            return bool(row[name] == wanted)


def expected(parameters: Row) -> list[str]:
    return [
        str(row["id"])
        for row in ROWS
        if all(matches(row, name, wanted, parameters) for name, wanted in parameters.items())
    ]


def pages(url: str, parameters: Row, limit: int) -> Iterator[list[str]]:
    """The ids on each page, by following the `Link` headers."""
    response = client.get(url, params={**parameters, "limit": limit})
    while True:
        assert response.status_code == 200, response.text
        body = response.json()
        yield [transaction["id"] for transaction in body["transactions"]]
        assert body["next"] == body["cursor"]
        if body["cursor"] is None:
            assert "link" not in response.headers
            return
        link = response.links["next"]["url"]
        assert parse_qs(urlsplit(link).query)["cursor"] == [body["cursor"]]
        response = client.get(urljoin(url, link))


def moments() -> st.SearchStrategy[str]:
    """Times among the rows', to the very microsecond, as clocks show them in several places."""
    zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=8))])
    return st.builds(lambda row, zone: row["created_at"].astimezone(zone).isoformat(), st.sampled_from(ROWS), zones)


PARAMETERS: dict[str, st.SearchStrategy[Any]] = {
    "bank": st.sampled_from([*BANKS, "nobody"]),
    "account": st.sampled_from([*ACCOUNTS, "X"]),
    "currency": st.sampled_from([*CURRENCIES, "GBP"]),
    "amount_min": st.sampled_from([1, 2, 3, 4, 10**15]),
    "amount_max": st.sampled_from([1, 2, 3, 9, 10**15]),
    "from": moments(),
    "to": moments(),
    "status": st.sampled_from(["accepted", "deleted"]),
    "reference": st.sampled_from([*REFERENCES, "rent"]),
}


def check(searched: Searched, parameters: Row, limit: int) -> None:
    found = list(pages(searched.url, parameters, limit))
    assert list(itertools.chain(*found)) == expected(parameters)
    assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
    assert len(found[-1]) <= limit


@settings(max_examples=150)
@given(parameters=st.fixed_dictionaries({}, optional=PARAMETERS), limit=st.sampled_from([40, 99, 100, 500]))
def test_what_is_found_is_what_a_plain_filter_finds(searched: Searched, parameters: Row, limit: int) -> None:
    check(searched, parameters, limit)


@pytest.mark.parametrize(
    "parameters",
    [
        {"bank": "north"},
        {"bank": "west bank", "account": "B2"},
        {"account": "A1"},
        {"currency": "JPY"},
        {"amount_min": 3},
        {"amount_max": 3},
        {"from": "2026-01-31T23:00:00Z"},
        {"to": "2026-01-31T23:00:00Z"},
        {"from": "2026-01-31T23:00:00Z", "to": "2026-02-01T00:05:00+01:00"},
        {"status": "deleted"},
        {"reference": "März €"},
        {"reference": "100%", "bank": "east", "currency": "EUR", "status": "accepted"},
    ],
    ids=str,
)
def test_each_filter_finds_some_and_leaves_some(searched: Searched, parameters: Row) -> None:
    assert 0 < len(expected(parameters)) < len(ROWS)
    check(searched, parameters, LIMIT_MAX)


def test_a_page_has_fifty_transactions_as_each_is_read_by_itself(searched: Searched) -> None:
    transactions = client.get(searched.url).json()["transactions"]
    assert [transaction["id"] for transaction in transactions] == [str(row["id"]) for row in ROWS[:50]]
    for transaction in transactions[:5]:
        assert transaction["posted_at"]
        assert client.get(urljoin(searched.url, f"/transaction/{transaction['id']}")).json() == transaction


@pytest.mark.parametrize(
    ("parameters", "field", "fact"),
    [
        ({"bank": ""}, "bank", "1 to 64"),
        ({"bank": "a/b"}, "bank", "1 to 64"),
        ({"bank": "a\0"}, "bank", "1 to 64"),
        ({"account": "A" * 35}, "account", "1 to 34"),
        ({"account": "A\0"}, "account", "1 to 34"),
        ({"currency": "usd"}, "currency", "three letters"),
        ({"currency": "USDX"}, "currency", "three letters"),
        ({"amount_min": "0"}, "amount_min", ">= 1"),
        ({"amount_min": "1.5"}, "amount_min", "a whole number"),
        ({"amount_max": "x"}, "amount_max", "a whole number"),
        ({"amount_max": str(10**15 + 1)}, "amount_max", "<= 1000000000000000"),
        ({"from": "yesterday"}, "from", "RFC 3339"),
        ({"from": "2026-01-31T12:00:00"}, "from", "RFC 3339"),
        ({"from": "1769860800"}, "from", "RFC 3339"),
        ({"from": "0001-01-01T00:00:00+14:00"}, "from", "RFC 3339"),
        ({"to": "2026-02-30T12:00:00Z"}, "to", "RFC 3339"),
        ({"to": ""}, "to", "RFC 3339"),
        ({"status": "gone"}, "status", "accepted or deleted"),
        ({"reference": ""}, "reference", "1 to 140"),
        ({"reference": "x" * 141}, "reference", "1 to 140"),
        ({"reference": "a\0"}, "reference", "1 to 140"),
        ({"limit": "0"}, "limit", ">= 1"),
        ({"limit": "501"}, "limit", "<= 500"),
        ({"limit": "x"}, "limit", "a whole number"),
        ({"cursor": ""}, "cursor", "another page"),
        ({"cursor": "AZwUtJhAcAA"}, "cursor", "another page"),
        ({"cursor": "AZwUtJhAcAAAAAAAAAAAA!"}, "cursor", "another page"),
        ({"cursor": "ÄZwUtJhAcAAAAAAAAAAAAA"}, "cursor", "another page"),
        ({"colour": "red"}, "colour", "is not a parameter here"),
        ({"From": "2026-01-31T12:00:00Z"}, "From", "is not a parameter here"),
        ({"from_": "2026-01-31T12:00:00Z"}, "from_", "is not a parameter here"),
        ({"bank": ["north", "south"]}, "bank", "more than once"),
    ],
    ids=str,
)
def test_a_bad_parameter_is_named(searched: Searched, parameters: Row, field: str, fact: str) -> None:
    response = client.get(searched.url, params=parameters)
    problem = response.json()
    assert (response.status_code, problem["code"], problem["field"]) == (400, "invalid", field), problem
    assert fact in problem["detail"], problem


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_times_may_be_as_far_away_as_can_be_written(searched: Searched, moment: str) -> None:
    for name in ("from", "to"):
        check(searched, {name: moment}, LIMIT_MAX)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "parameters", [{}, {"bank": "north"}, {"bank": "south"}, {"account": "A1"}, {"reference": "Rent"}], ids=str
)
async def test_a_bank_sees_what_it_took_part_in(searched: Searched, parameters: Row) -> None:
    took_part = {str(row["id"]) for row in ROWS if "north" in (row["sender_bank"], row["receiver_bank"])}
    visible = [found for found in expected(parameters) if found in took_part]
    assert visible
    async with searching(searched.database_url) as pool:
        assert (await all_found(pool, Search(**parameters, limit=99), "north"))[0] == visible
        assert await all_found(pool, Search(**parameters), "nobody") == ([], 1)


def test_pages_are_whole_while_others_write(polka: Running) -> None:
    for bank in ("reader", "writer"):
        client.post(f"{polka.url}/banks", json={"name": bank})

    def pay() -> str:
        response = client.post(f"{polka.apis[1].url}/transaction", json=payment(1, "writer", "reader"))
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    there = [pay() for _ in range(100)]
    written: list[str] = []
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            written.append(pay())

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    found = []
    try:
        for page in pages(f"{polka.url}/transactions", {"bank": "reader"}, 7):
            found += page
            enough = len(written) + 10
            while len(written) < enough and all(writer.is_alive() for writer in writers):
                done.wait(0.001)
    finally:
        done.set()
        for writer in writers:
            writer.join()
    assert len(written) >= 100
    assert found == sorted(found, reverse=True)
    assert len(found) == len(set(found))
    assert found[-100:] == there[::-1]
