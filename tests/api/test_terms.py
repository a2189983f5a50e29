"""A bank's terms: changing them, what a suspended bank takes no part in, and that from the answer on they hold."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from bearers import key_of_bank
from front_door import change, changed, fetch, post, refused
from locks import until_waiting
from polka.audit import snapshot
from polka.rules.policy import Policy, Terms
from polka.store import bank_terms
from polka.store.database_errors import STALE_POLICY
from running import Running
from services import client, payment

pytestmark = pytest.mark.anyio


@pytest.fixture
def banks(polka: Running, key: str) -> tuple[str, str]:
    """Two banks of the test's own."""
    names = (f"{key}-a", f"{key}-b")
    for name in names:
        assert client.post(f"{polka.url}/banks", json={"name": name}).status_code == 201
    return names


def pay(polka: Running, sender: str, receiver: str, key: str | None = None, api: int = 0) -> httpx.Response:
    return post(polka, payment(sender=sender, receiver=receiver), key, api)


def test_a_bank_shows_its_terms_to_operators_and_to_itself(polka: Running, banks: tuple[str, str]) -> None:
    url = f"{polka.url}/banks/{banks[0]}"
    before = client.get(url).json()
    assert (before["suspended"], before["terms_version"], before["terms_since"]) == ("no", 0, None)
    after = changed(polka, banks[0], suspended="sending")
    assert after["suspended"] == "sending"
    assert after["terms_version"] > 0
    assert after["terms_since"] is not None
    for headers in ({}, key_of_bank(polka.url, banks[0])):
        shown = client.get(url, headers=headers).json()
        assert shown | {"as_of": after["as_of"]} == after  # the cache goes on, so its time is another


def test_each_change_is_a_version_and_all_are_kept(polka: Running, banks: tuple[str, str]) -> None:
    first = changed(polka, banks[0], suspended="both")["terms_version"]
    second = changed(polka, banks[1], api=1, suspended="sending")["terms_version"]
    third = changed(polka, banks[0], suspended=None)["terms_version"]
    assert first < second < third
    rows = fetch(
        polka.database_url,
        "SELECT bank, version, suspended, changed_by, in_force_from > lag(in_force_from) OVER (ORDER BY version) "
        f"FROM bank_terms WHERE bank IN {banks} ORDER BY version",
    )
    assert [row[:4] for row in rows] == [
        (banks[0], first, "both", "polka"),
        (banks[1], second, "sending", "polka"),
        (banks[0], third, "no", "polka"),
    ]
    assert [row[4] for row in rows][1:] == [True, True]


def test_what_changes_nothing_makes_no_version(polka: Running, banks: tuple[str, str]) -> None:
    first = changed(polka, banks[0], suspended="both")
    assert changed(polka, banks[0], suspended="both")["terms_version"] == first["terms_version"]
    assert changed(polka, banks[0])["terms_since"] == first["terms_since"]


BAD = [
    (b"[]", "invalid", None),
    (b"{", "malformed", None),
    (b'{"a":' * 9_000, "malformed", None),
    (b'{"suspended": "maybe"}', "invalid", "suspended"),
    (b'{"interest": {"USD": {"debit_basis_points": -1}}}', "invalid", "interest.USD.debit_basis_points"),
    (b'{"interest": {"XXX": {"debit_basis_points": 1}}}', "invalid", "interest.XXX"),
    (b'{"interest": {"USD": {"rate": 1}}}', "invalid", "interest.USD.rate"),
    (b'{"name": "another"}', "invalid", "name"),
]
TOLD = [
    ({"suspended": "maybe"}, "suspended: must be no, sending or both."),
    ({"caps": {"XAU": 1}}, "caps.XAU: is no currency of ISO 4217 that has minor units."),
    ({"fees": {"USD": {"minimum": 2, "maximum": 1}}}, "fees.USD: minimum must be at most the maximum."),
]


@pytest.mark.parametrize(("body", "detail"), TOLD, ids=str)
def test_of_a_term_that_cannot_be_it_is_told_what_may_be(
    polka: Running, banks: tuple[str, str], body: Any, detail: str
) -> None:
    assert refused(client.patch(f"{polka.url}/banks/{banks[0]}", json=body), 400, "invalid")["detail"] == detail


@pytest.mark.parametrize(("body", "code", "field"), BAD, ids=lambda part: str(part)[:30])
def test_a_patch_that_is_none_is_refused(
    polka: Running, banks: tuple[str, str], body: bytes, code: str, field: str | None
) -> None:
    response = client.patch(f"{polka.url}/banks/{banks[0]}", content=body)
    problem = refused(response, 400, code)
    assert problem.get("field") == field
    assert client.get(f"{polka.url}/banks/{banks[0]}").json()["terms_version"] == 0


def test_there_are_no_terms_with_a_bank_that_is_none(polka: Running) -> None:
    refused(change(polka, "nobody", suspended="both"), 404, "not_found")


@pytest.mark.parametrize("suspended", ["sending", "both"])
def test_a_suspended_bank_sends_nothing_and_may_receive_if_it_says_so(
    polka: Running, banks: tuple[str, str], key: str, suspended: str
) -> None:
    bank, other = banks
    changed(polka, bank, suspended=suspended)
    for api in (0, 1):
        problem = refused(pay(polka, bank, other, f"{key}-{api}", api), 409, "bank_suspended")
        assert problem["field"] == "sender.bank"
    received = pay(polka, other, bank)
    if suspended == "sending":
        assert received.status_code == 201
    else:
        assert refused(received, 409, "bank_suspended")["field"] == "receiver.bank"
    changed(polka, bank, suspended="no")
    for api in (0, 1):
        assert pay(polka, bank, other, api=api).status_code == 201
    assert refused(pay(polka, bank, other, f"{key}-0"), 409, "bank_suspended"), "a refusal is replayed"


def test_of_many_payments_those_of_a_suspended_bank_are_refused(polka: Running, banks: tuple[str, str]) -> None:
    bank, other = banks
    changed(polka, bank, suspended="sending")
    items = [payment(sender=bank, receiver=other), payment(sender=other, receiver=bank)]
    url = f"{polka.url}/transactions"
    problem = refused(client.post(url, json=items), 422, "items_refused")
    assert [(item["index"], item["code"]) for item in problem["items"]] == [(0, "bank_suspended")]
    response = client.post(url, json=items, params={"mode": "each"})
    assert response.status_code == 207
    assert [result["status"] for result in response.json()["results"]] == [409, 201]
    response = client.post(url, json=items[:1], params={"mode": "each"})
    assert [result["problem"]["code"] for result in response.json()["results"]] == ["bank_suspended"]


def test_an_amendment_makes_no_payment_of_a_suspended_bank(polka: Running, banks: tuple[str, str]) -> None:
    bank, other = banks
    made = pay(polka, other, "bank1").json()
    changed(polka, bank, suspended="both")
    url = f"{polka.url}/transaction/{made['id']}"
    for side in ("sender", "receiver"):
        problem = refused(client.patch(url, json={side: {"bank": bank}}), 409, "bank_suspended")
        assert problem["field"] == f"{side}.bank"
    assert client.get(url).json()["version"] == 1


@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_operators_alone_reverse_what_a_suspended_bank_has_part_in(
    polka: Running, banks: tuple[str, str], side: str
) -> None:
    bank, other = banks
    sender, receiver = (bank, other) if side == "sender" else (other, bank)
    made = [pay(polka, sender, receiver).json() for _ in range(2)]
    headers = key_of_bank(polka.url, sender)
    changed(polka, bank, suspended="both")
    urls = [f"{polka.url}/transaction/{one['id']}" for one in made]
    refused(client.delete(urls[0], headers=headers), 409, "bank_suspended")
    refused(
        client.patch(urls[1], json={side: {"bank": "bank1"}}, headers=headers),
        409 if side == "receiver" else 403,
        "bank_suspended" if side == "receiver" else "forbidden",
    )
    assert client.delete(urls[0]).json()["status"] == "deleted"
    assert client.patch(urls[1], json={side: {"bank": "bank1"}}).json()["version"] == 2


@pytest.fixture
async def another(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def suspend(connection: asyncpg.Connection) -> int | None:
    agreed = await bank_terms.of_bank(connection, "bank1")
    return await bank_terms.change(connection, "bank1", agreed, Terms(suspended="both"), "a test")


async def test_a_change_waits_for_commits_in_flight_and_shuts_out_later_ones(
    connection: asyncpg.Connection, another: asyncpg.Connection, database_url: str
) -> None:
    """A later commit waits behind the change, though others share the lock that it waits for."""
    third = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("SELECT polka_hold_policy(0)")
    changing = asyncio.create_task(suspend(another))
    await until_waiting(database_url)
    committing = asyncio.create_task(third.execute("SELECT polka_hold_policy(0)"))
    await until_waiting(database_url, 2)
    await transaction.commit()
    assert await changing == 1
    with pytest.raises(asyncpg.PostgresError, match="decided under version 0 of the policy, it is 1") as failed:
        await committing
    assert failed.value.sqlstate == STALE_POLICY
    await third.close()


async def test_a_change_that_waits_too_long_changes_nothing(
    connection: asyncpg.Connection, another: asyncpg.Connection
) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("SELECT polka_hold_policy(0)")
    with pytest.raises(asyncpg.LockNotAvailableError):
        await suspend(another)
    await transaction.rollback()
    assert await bank_terms.newest(another, Policy(-1)) == Policy(0)


async def test_of_two_changes_of_one_bank_at_once_the_later_sees_the_first(
    connection: asyncpg.Connection, another: asyncpg.Connection
) -> None:
    seen = await bank_terms.of_bank(connection, "bank1")
    assert await bank_terms.change(connection, "bank1", seen, Terms(suspended="both"), "us") == 1
    assert await bank_terms.change(another, "bank1", seen, Terms({"USD": 1}), "them") is None
    assert await bank_terms.change(another, "bank2", seen, Terms({"USD": 1}), "them") == 2
    known = await bank_terms.newest(another, Policy(-1))
    assert known.version == 2
    assert (known.terms("bank1"), known.terms("bank2")) == (Terms(suspended="both"), Terms({"USD": 1}))
    seen = await bank_terms.of_bank(connection, "bank1")
    assert await bank_terms.change(connection, "bank1", seen, Terms(), "us") == 3
    newest = await bank_terms.newest(another, known)
    assert (newest.version, newest.terms("bank1"), newest.terms("bank2")) == (3, Terms(), Terms({"USD": 1}))
    assert await bank_terms.newest(another, Policy(-1)) == newest


async def test_the_audit_finds_a_version_of_the_policy_that_is_missing(
    connection: asyncpg.Connection, database_url: str
) -> None:
    for bank in ("bank1", "bank2", "bank3"):
        await connection.execute("SELECT polka_change_terms($1, 0, '{}', 'both', '{}', '{}', 'a test')", bank)
    assert (await snapshot.audit(database_url)).is_clean
    await connection.execute("DELETE FROM bank_terms WHERE version = 2")
    await connection.execute("UPDATE policy SET version = 2")
    found = (await snapshot.audit(database_url)).differences["Each version of the policy changed the terms of one bank"]
    assert [(one.subject, one.expected, one.found) for one in found] == [("version 2", 1, 0), ("version 3", 0, 1)]
