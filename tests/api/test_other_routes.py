"""The api's routes beside payments: what is there, what their parameters can be, and their pages."""

from typing import Any

import httpx
import pytest

from front_door import refused
from running import Running
from services import client
from waiting import WAIT_SECONDS


def test_hello(polka: Running) -> None:
    assert client.get(f"{polka.url}/hello").json() == {"hello": "polka"}


def test_a_nul_in_a_parameter_is_the_clients_fault(polka: Running) -> None:
    names = ("cursor", "after")
    pages = [f"{path}?{name}=%00" for path in ("/banks", "/banks/bank1/accounts") for name in names]
    for path in ("/transaction?idempotency_key=%00", *pages):
        refused(client.get(polka.url + path), 400, "invalid")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/clearing?after=2", "after"),
        ("/clearing?before=2&before=3", "before"),
        ("/clearing?cursor=2&cursor=3", "cursor"),
        ("/rates?day=2026-10-30", "day"),
        ("/convert?from=USD&to=JPY&amount=5&date=2026-10-30", "date"),
        ("/convert?from_=USD&to=JPY&amount=5", "from_"),
        ("/banks?before=bank1", "before"),
        ("/liquidity/history?currency=USD&before=2026-10-30T12:00:00Z", "before"),
        ("/banks/bank1?currency=USD", "currency"),
        ("/transaction?idempotency-key=x", "idempotency-key"),
        ("/liquidity?currency=USD", "currency"),
    ],
)
def test_an_unknown_parameter_of_what_is_read_is_refused(polka: Running, path: str, field: str) -> None:
    """A page asked for by a wrong name would be the first one again and again."""
    assert refused(client.get(polka.url + path), 400, "invalid")["field"] == field


@pytest.mark.parametrize("null", ["null", "NULL"])
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/keys", "cursor"),
        ("/keys", "after"),
        ("/clearing", "cursor"),
        ("/clearing", "format"),
        ("/rates", "date"),
        ("/transactions", "status"),
    ],
)
def test_null_is_no_value(polka: Running, path: str, field: str, null: str) -> None:
    """A client that asks for the page after the last one would get the first one again."""
    assert refused(client.get(f"{polka.url}{path}?{field}={null}"), 400, "invalid")["field"] == field
    assert client.get(f"{polka.url}/transactions?account={null}").status_code == 200


@pytest.mark.parametrize(
    ("path", "fact"),
    [
        ("/clearing?format=xml", "format: must be json or csv."),
        ("/transactions?status=paid", "status: must be accepted or deleted."),
        ("/convert?from=usd&to=JPY&amount=5", "from: must be an ISO 4217 code of three letters."),
    ],
)
def test_a_value_that_is_none_of_a_few_is_told_which_there_are(polka: Running, path: str, fact: str) -> None:
    assert refused(client.get(polka.url + path), 400, "invalid")["detail"] == fact


def test_what_is_not_there(polka: Running) -> None:
    for path in (
        "/transaction/x",
        "/transaction/01900000-0000-7000-8000-000000000000",
        "/banks/nobody",
        "/banks/nobody/accounts",
        "/nothing",
    ):
        refused(client.get(f"{polka.url}{path}"), 404, "not_found")
    refused(client.get(f"{polka.url}/transaction", params={"idempotency_key": "never"}), 404, "not_found")
    refused(client.put(f"{polka.url}/banks", json={}), 405, "method_not_allowed")
    refused(client.request("DELETE", f"{polka.url}/transaction"), 405, "method_not_allowed")


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"name": "bank1"}, 409, "conflict", "name"),
        ({"name": "polka"}, 409, "conflict", "name"),
        ({"name": ""}, 400, "invalid", "name"),
        ({"name": "-x"}, 400, "invalid", "name"),
        ({"name": "a/b"}, 400, "invalid", "name"),
        ({"name": "x" * 65}, 400, "invalid", "name"),
        ({"name": "x\n"}, 400, "invalid", "name"),
        ({"name": 5}, 400, "invalid", "name"),
        ({}, 400, "invalid", "name"),
        ({"name": "x", "cap": 5}, 400, "invalid", "cap"),
    ],
)
def test_a_bank_that_cannot_be_opened(polka: Running, body: Any, status: int, code: str, field: str) -> None:
    problem = refused(client.post(f"{polka.url}/banks", json=body), status, code)
    assert problem.get("field") == field, problem


def test_banks_come_in_pages(polka: Running) -> None:
    names: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = client.get(f"{polka.url}/banks", params={"cursor": cursor, "limit": 7}).json()
        assert len(page["banks"]) <= 7
        names += [bank["name"] for bank in page["banks"]]
        cursor = page["cursor"]
    assert names == sorted(names)
    assert {f"bank{n}" for n in range(1, 21)} <= set(names)
    assert refused(client.get(f"{polka.url}/banks", params={"limit": 0}), 400, "invalid")["field"] == "limit"
    assert refused(client.get(f"{polka.url}/banks", params={"limit": "x"}), 400, "invalid")["field"] == "limit"


PAGES = [
    ("/banks", "after", "bank2"),
    ("/banks/bank1/accounts", "after", "A"),
    ("/clearing", "before", "2"),
    ("/keys", "after", "00000000-0000-0000-0000-000000000001"),
]


@pytest.mark.parametrize(("path", "older", "value"), PAGES)
def test_the_older_name_of_a_cursor_means_the_same(polka: Running, path: str, older: str, value: str) -> None:
    def cursors(**params: str) -> tuple[Any, Any]:
        page = client.get(polka.url + path, params={"limit": "1"} | params).raise_for_status().json()
        return page["cursor"], page["next"]

    expected = cursors(cursor=value)
    assert expected[0] == expected[1]
    assert cursors(**{older: value}) == cursors(**{"cursor": value, older: value}) == expected


@pytest.mark.parametrize(("path", "older", "value"), PAGES)
def test_a_cursor_and_its_older_name_that_differ_are_refused(polka: Running, path: str, older: str, value: str) -> None:
    other = value.replace("2", "3").replace("A", "B").replace("1", "3")
    for params in ({"cursor": value, older: other}, {"cursor": other, older: value}):
        problem = refused(client.get(f"{polka.url}{path}", params=params), 400, "invalid")
        assert problem["field"] == "cursor"
        assert problem["detail"] == f"cursor: differs from {older}, its older name. Send cursor alone."


def test_an_account_that_cannot_be_is_refused(polka: Running) -> None:
    for bad in ("", "A 1", "A" * 35, "A\n"):
        response = client.get(f"{polka.url}/banks/bank1/accounts", params={"account": bad})
        assert refused(response, 400, "invalid")["field"] == "account"


def test_connections_are_closed_after_some_hundred_requests(polka: Running) -> None:
    answers = []
    with httpx.Client(timeout=WAIT_SECONDS, verify=False) as own:
        for _ in range(510):
            response = own.get(f"{polka.url}/hello")
            answers.append(response.headers.get("connection"))
    assert answers.count("close") in (1, 2)
