"""A commit whose answer is lost, and a batch whose id is void: each payment is made once, and the cache hears of it."""

import asyncio
import json
from typing import Any

import asyncpg
import httpx
import pytest
from uuid_utils import uuid7

from locks import until_waiting
from posts import MARK, SLOW_COMMITS, Apis, accepted, is_commit, key, pay, stored
from waiting import WAIT_SECONDS
from wire import Fault, Wire

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name)
async def test_a_commit_whose_answer_is_lost_ends_in_one_payment(
    start: Apis, wire: Wire, connection: asyncpg.Connection, fault: Fault
) -> None:
    posting = await start(wire.url)
    accepted(await posting.post(pay(1), key("first"), 5))
    wire.arm(fault, is_commit)
    outcome = accepted(await posting.post(pay(2, MARK), key("second"), 20))
    assert wire.struck.is_set()
    if fault is Fault.DELAY:
        await asyncio.to_thread(wire.release)
    rows = await stored(connection)
    assert [row["amount"] for row in rows] == [1, 2]
    assert str(rows[1]["id"]) == outcome.transaction.id
    assert str(rows[1]["batch"]) == outcome.transaction.batch
    states = [row["state"] for row in await connection.fetch("SELECT state FROM batches ORDER BY id")]
    assert states == (["unposted", "unposted"] if fault is Fault.LOSE_ANSWER else ["unposted", "void", "unposted"])


async def test_a_commit_that_is_still_under_way_is_waited_for(
    start: Apis, wire: Wire, database_url: str, connection: asyncpg.Connection
) -> None:
    """The payment has no key: the tombstone alone keeps it from being made twice."""
    posting = await start(wire.url)
    accepted(await posting.post(pay(1), None, 5))
    await connection.execute(SLOW_COMMITS)
    await connection.execute("SELECT pg_advisory_lock(42)")
    wire.arm(Fault.LOSE_ANSWER, is_commit)
    paying = asyncio.create_task(posting.post(pay(2, MARK), None, 20))
    await until_waiting(database_url, 2)
    await connection.execute("SELECT pg_advisory_unlock(42)")
    transaction = accepted(await paying).transaction
    assert [(row["amount"], str(row["batch"])) for row in await stored(connection)][1:] == [(2, transaction.batch)]


async def test_a_payment_after_a_lost_commit_does_not_wait_for_it(
    start: Apis, wire: Wire, database_url: str, connection: asyncpg.Connection
) -> None:
    posting = await start(wire.url)
    accepted(await posting.post(pay(1), None, 5))
    await connection.execute("BEGIN; LOCK TABLE idempotency_keys IN SHARE MODE")
    wire.arm(Fault.LOSE_ANSWER, is_commit)
    lost = asyncio.create_task(posting.post(pay(2, MARK), key("k"), 20))
    assert await asyncio.to_thread(wire.struck.wait, WAIT_SECONDS)
    await until_waiting(database_url)
    await connection.execute("COMMIT")
    assert accepted(await posting.post(pay(3), None, 5)).transaction.amount == 3
    assert accepted(await lost).transaction.amount == 2
    assert sorted(row["amount"] for row in await stored(connection)) == [1, 2, 3]


@pytest.fixture
async def buried(connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of the first batch, which is void already.

    As for an api that was frozen between telling the cache and committing: the cache has buried the batch meanwhile.
    """
    first = uuid7()
    ids = iter([first, uuid7()])
    monkeypatch.setattr("api.posting.batches.uuid7", lambda: next(ids))
    await connection.execute("INSERT INTO batches (id, state, size) VALUES ($1, 'void', 0)", first)
    return str(first)


async def test_a_batch_whose_id_is_void_is_committed_under_another(
    start: Apis, connection: asyncpg.Connection, buried: str
) -> None:
    posting = await start()
    outcome = accepted(await posting.post(pay(), key("k"), 5))
    assert outcome.transaction.batch != buried
    assert len(await stored(connection)) == 1


async def test_a_batch_that_goes_again_tells_the_cache_which_one_it_replaces(start: Apis, buried: str) -> None:
    told: list[dict[str, Any]] = []

    def cache(request: httpx.Request) -> httpx.Response:
        told.extend(json.loads(request.content))
        return httpx.Response(200)

    posting = await start(cache=cache)
    outcome = accepted(await posting.post(pay(), key("k"), 5))
    async with asyncio.timeout(WAIT_SECONDS):
        while len(told) < 2:
            await asyncio.sleep(0.01)
    assert [(batch["batch"], batch["replaces"]) for batch in told] == [
        (buried, []),
        (outcome.transaction.batch, [buried]),
    ]


async def test_the_cache_hears_of_a_failed_batch_of_which_nothing_is_left(start: Apis) -> None:
    """At once, and with the next batch, which may come first. Otherwise its entries would be pending until a tombstone
    is there."""
    told: list[dict[str, Any]] = []

    def cache(request: httpx.Request) -> httpx.Response:
        told.extend(json.loads(request.content))
        return httpx.Response(200)

    first, second = await start(), await start(cache=cache)
    accepted(await first.post(pay(), key("taken"), 5))
    assert accepted(await second.post(pay(), key("taken"), 5)).replayed
    async with asyncio.timeout(WAIT_SECONDS):
        while len(told) < 2:
            await asyncio.sleep(0.01)
    failed = told[0]["batch"]
    assert told[1] == {"batch": failed, "entries": [], "replaces": []}
    accepted(await second.post(pay(), key("next"), 5))
    async with asyncio.timeout(WAIT_SECONDS):
        while len(told) < 3:
            await asyncio.sleep(0.01)
    assert told[2]["replaces"] == [failed]
