"""The capped lane of an api, on real connections: what it does with a reservation, and without one."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from api.http.refusals import Refusal, Refused
from api.posting.batches import Outcome
from api.posting.operations import Bulk, Change, Pay
from cache.ledger import flush
from capped import CAP, Cache, Start, cap, refusal
from locks import until_waiting
from polka.rules.transactions import Party, Payment
from posts import MARK, SLOW_COMMITS, accepted, is_commit, key, pay, stored
from waiting import WAIT_SECONDS
from wire import Fault, Wire

pytestmark = pytest.mark.anyio


OVER = {"bank": "bank1", "currency": "USD", "cap": CAP, "balance": 0, "pending": 0}


@pytest.fixture
def start(start_capped: Start) -> Start:
    return start_capped


def receive(amount: int = 100) -> Pay:
    """A payment to the bank that has the cap."""
    return Pay(Payment(Party("bank2", "B1"), Party("bank1", "A1"), amount, "USD"))


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not check():
            await asyncio.sleep(0.01)


async def test_what_needs_no_reservation_never_shares_a_batch_with_what_does(
    start: Start, cache: Cache, connection: asyncpg.Connection
) -> None:
    posting = await start()
    await asyncio.gather(*(posting.post(pay(n) if n % 2 else receive(n), None, 5) for n in range(1, 41)))
    senders = await connection.fetch("SELECT DISTINCT batch, sender_bank FROM transactions")
    assert len(senders) == len({row["batch"] for row in senders})
    reserved = {str(row["batch"]) for row in senders if row["sender_bank"] == "bank1"}
    assert reserved == {asked["batch"] for asked in cache.asked}
    assert not reserved & {told["batch"] for told in cache.told}


async def test_what_the_cache_refuses_is_not_committed_and_the_rest_is(
    start: Start, cache: Cache, connection: asyncpg.Connection
) -> None:
    posting = await start()
    cache.refuses = lambda body: {n: OVER for n, unit in enumerate(body["units"]) if unit[0][3] % 2}
    outcomes = await asyncio.gather(*(posting.post(pay(n), key(n), 5) for n in range(1, 21)))
    assert [refusal(outcome) for outcome in outcomes[::2]] == [Refusal.CAP_EXCEEDED] * 10
    assert sorted(row["amount"] for row in await stored(connection)) == list(range(2, 21, 2))
    payloads = await connection.fetch("SELECT payload FROM batches")
    assert sum(entry[3] for row in payloads for entry in json.loads(row["payload"]) if entry[3] > 0) == 110


async def test_a_deletion_and_an_amendment_ask_for_what_they_take(start: Start, cache: Cache) -> None:
    posting = await start()
    received = [accepted(await posting.post(receive(), None, 5)).transaction for _ in range(3)]
    assert cache.asked == []
    for old, new in (
        (received[0], replace(received[0], status="deleted")),
        (received[1], replace(received[1], receiver=Party("bank3", "C1"))),
    ):
        accepted(await posting.post(Change(old, new, "00", "polka", None), None, 5))
    falls = [sum(amount for bank, *_, amount in asked["units"][0] if bank == "bank1") for asked in cache.asked]
    assert falls == [-100, -100]
    moved = replace(received[2], receiver=Party("bank1", "A2"))
    accepted(await posting.post(Change(received[2], moved, "00", "polka", None), None, 5))
    assert len(cache.asked) == 2, "the bank's balance stays"


async def test_a_reservation_of_an_outdated_cache_never_commits(
    start: Start, cache: Cache, connection: asyncpg.Connection
) -> None:
    """The next one, which another cache gives, does; and it replaces the first."""
    posting = await start()
    assert await flush.raise_epoch(connection) == 1
    paying = asyncio.create_task(posting.post(pay(), key("k"), 20))
    await until(lambda: len(cache.asked) >= 3)
    assert await stored(connection) == []
    cache.epoch = 1
    outcome = accepted(await paying)
    assert outcome.transaction.batch == cache.asked[-1]["batch"]
    assert [asked["replaces"] for asked in cache.asked] == [[], *([asked["batch"]] for asked in cache.asked[:-1])]


async def held_up(
    posted: Coroutine[Any, Any, Outcome], connection: asyncpg.Connection, url: str
) -> asyncio.Task[Outcome]:
    """A payment whose commit waits, as all others will, until the connection lets go of the lock."""
    await connection.execute(SLOW_COMMITS)
    await connection.execute("SELECT pg_advisory_lock(42)")
    task = asyncio.create_task(posted)
    await until_waiting(url)
    return task


async def test_a_commit_under_a_reservation_holds_the_epoch_to_its_end(
    start: Start, connection: asyncpg.Connection, database_url: str
) -> None:
    """A new cache, which has not heard of the reservation, reads the balances only after it."""
    posting = await start()
    paying = await held_up(posting.post(pay(), None, 10), connection, database_url)
    other = await asyncpg.connect(database_url)
    raising = asyncio.create_task(flush.raise_epoch(other))
    await until_waiting(database_url, 2)
    await connection.execute("SELECT pg_advisory_unlock(42)")
    accepted(await paying)
    assert await raising == 1
    await other.close()


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name)
async def test_a_reserved_commit_whose_answer_is_lost_ends_in_one_payment(
    start: Start, cache: Cache, wire: Wire, connection: asyncpg.Connection, fault: Fault
) -> None:
    posting = await start(wire.url)
    accepted(await posting.post(pay(1), key("first"), 5))
    wire.arm(fault, is_commit)
    outcome = accepted(await posting.post(pay(2, MARK), None, 20))
    assert wire.struck.is_set()
    if fault is Fault.DELAY:
        await asyncio.to_thread(wire.release)
    assert [row["amount"] for row in await stored(connection)] == [1, 2]
    assert outcome.transaction.batch == cache.asked[-1]["batch"]
    if fault is not Fault.LOSE_ANSWER:
        assert cache.asked[-1]["replaces"] == [cache.asked[-2]["batch"]], "it reserves anew for a new id"


async def test_while_one_batch_commits_room_is_reserved_for_the_next_alone(
    start: Start, cache: Cache, connection: asyncpg.Connection, database_url: str
) -> None:
    """One batch commits and one more has its room: what comes later waits, and goes together."""
    posting = await start()
    first = await held_up(posting.post(pay(1), None, 20), connection, database_url)
    second = asyncio.create_task(posting.post(pay(2), None, 20))
    await until(lambda: len(cache.asked) == 2)
    later = [asyncio.create_task(posting.post(pay(n), None, 20)) for n in (3, 4)]
    impatient = await posting.post(pay(5), None, 0.2)
    assert refusal(impatient) is Refusal.TIMEOUT, "what waits for its room is not in a commit yet"
    assert len(cache.asked) == 2
    assert [len(asked["units"]) for asked in cache.asked] == [1, 1]
    await connection.execute("SELECT pg_advisory_unlock(42)")
    batches = [accepted(outcome).transaction.batch for outcome in await asyncio.gather(first, second, *later)]
    assert [asked["batch"] for asked in cache.asked] == batches[:3]
    assert batches[2] == batches[3]


async def test_whose_caller_leaves_while_his_room_waits_for_its_commit_has_nothing_recorded(
    start: Start, cache: Cache, connection: asyncpg.Connection, database_url: str
) -> None:
    """He was told so. His batch is told to the cache as failed: nothing will come of it."""
    posting = await start()
    first = await held_up(posting.post(pay(1), None, 20), connection, database_url)
    leaving = asyncio.create_task(posting.post(pay(2), key("k"), 20))
    await until(lambda: len(cache.asked) == 2)
    leaving.cancel()
    assert refusal(await leaving) is Refusal.TIMEOUT
    await connection.execute("SELECT pg_advisory_unlock(42)")
    accepted(await first)
    accepted(await posting.post(pay(3), None, 20))
    assert [row["amount"] for row in await stored(connection)] == [1, 3]
    assert cache.asked[-1]["replaces"] == [cache.asked[1]["batch"]]


async def test_a_refusal_for_a_cap_waits_for_the_commit_that_has_its_key(
    start: Start, cache: Cache, connection: asyncpg.Connection, database_url: str
) -> None:
    """The same request through another api, whose cache had room for it."""
    first, second = await start(), await start()
    paying = await held_up(first.post(pay(), key("k"), 10), connection, database_url)
    cache.refuses = lambda _: {0: OVER}
    refusing = asyncio.create_task(second.post(pay(), key("k"), 10))
    await until_waiting(database_url, 2)
    assert not refusing.done()
    await connection.execute("SELECT pg_advisory_unlock(42)")
    assert accepted(await refusing) == (accepted(await paying).transaction, True)


async def test_what_was_refused_for_a_cap_is_never_committed_later(
    start: Start, cache: Cache, connection: asyncpg.Connection
) -> None:
    """The key is taken for the refusal, so another attempt that the cache has room for by now fails."""
    first, second = await start(), await start()
    cache.refuses = lambda _: {0: OVER}
    assert refusal(await first.post(pay(), key("k"), 5)) is Refusal.CAP_EXCEEDED
    cache.refuses = lambda _: {}
    again = await second.post(pay(), key("k"), 5)
    assert refusal(again) is Refusal.CAP_EXCEEDED
    assert again.overdraft is not None
    assert await stored(connection) == []


async def test_while_the_cache_is_away_a_payment_waits_until_its_deadline(
    start: Start, cache: Cache, connection: asyncpg.Connection
) -> None:
    posting = await start()
    cache.is_away = True
    waiting = asyncio.create_task(posting.post(pay(1), key(1), 20))
    assert refusal(await posting.post(pay(2), key(2), 0.2)) is Refusal.CAP_UNCHECKED
    accepted(await posting.post(receive(3), None, 5))
    cache.is_away = False
    accepted(await waiting)
    assert sorted(row["amount"] for row in await stored(connection)) == [1, 3]


async def test_a_failed_batch_is_named_until_the_cache_has_answered(start: Start, cache: Cache) -> None:
    """The report at once may be lost, and so may the next request for room."""
    first, second = await start(), await start()
    accepted(await first.post(pay(1), key(1), 5))
    assert accepted(await second.post(pay(1), key(1), 5)).replayed
    failed = cache.asked[-1]["batch"]
    cache.is_away = True
    assert refusal(await second.post(pay(2), key(2), 0.2)) is Refusal.CAP_UNCHECKED
    cache.is_away = False
    accepted(await second.post(pay(3), key(3), 5))
    assert failed in cache.asked[-1]["replaces"]


async def test_of_a_batch_whose_caller_left_meanwhile_nothing_is_committed_of_his(
    start: Start, cache: Cache, connection: asyncpg.Connection
) -> None:
    """He was told that nothing is recorded; the others in the batch get what was reserved."""
    posting = await start()
    cache.is_away = True
    patient, impatient = (
        asyncio.create_task(posting.post(pay(n), None, seconds)) for n, seconds in ((1, 20), (2, 0.3))
    )
    assert refusal(await impatient) is Refusal.CAP_UNCHECKED
    cache.is_away = False
    accepted(await patient)
    assert [row["amount"] for row in await stored(connection)] == [1]


async def test_of_many_payments_each_is_reserved_by_itself_or_all_together(
    start: Start, cache: Cache, connection: asyncpg.Connection
) -> None:
    posting = await start()
    cache.refuses = lambda body: {n: OVER for n, unit in enumerate(body["units"]) if unit[0][3] == -2}
    no = Refused(Refusal.UNKNOWN_BANK, "no")
    each = await posting.post(Bulk([pay(1), no, pay(2), receive(3)], "00", is_atomic=False), key("each"), 5)
    assert [isinstance(item, Refused) for item in each.result] == [False, True, True, False]
    assert [len(unit) for unit in cache.asked[-1]["units"]] == [2, 2, 2]
    cache.refuses = lambda _: {0: OVER}
    atomic = await posting.post(Bulk([pay(4), pay(5)], "00"), key("all"), 5)
    assert refusal(atomic) is Refusal.CAP_EXCEEDED
    assert [len(unit) for unit in cache.asked[-1]["units"]] == [4]
    assert sorted(row["amount"] for row in await stored(connection)) == [1, 3]


async def test_a_payment_that_waits_for_the_cache_is_decided_anew_once_the_cap_is_gone(
    start: Start, cache: Cache, connection: asyncpg.Connection
) -> None:
    posting = await start()
    cache.is_away = True
    waiting = asyncio.create_task(posting.post(pay(1), key(1), 20))
    await until(lambda: posting.lanes.capped.is_unchecked)
    await cap(connection, None)
    await posting._policies.read_by(connection)
    accepted(await waiting)
    assert cache.asked == []
