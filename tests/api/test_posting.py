"""Posting, the part of the api, on real connections: races for keys, full queues, lost sessions, changes of terms."""

import asyncio
import random
from collections.abc import Callable

import asyncpg
import msgspec
import pytest
from prometheus_client import REGISTRY

from api.http.refusals import OUTCOME_UNKNOWN_IN_TIME, TIMEOUT, Refusal, Refused
from api.posting.batches import Accepted, Outcome
from api.posting.operations import Bulk, Change, Key, Operation, Pay
from api.posting.posting import Posting
from locks import until_waiting
from polka.rules.policy import Agreed, Policy, Terms
from polka.rules.transactions import POLKA, Party, Payment
from polka.store import database
from posts import SLOW_COMMITS, Apis, accepted, key, pay, stored

pytestmark = pytest.mark.anyio


async def test_payments_that_arrive_together_share_a_commit(start: Apis, connection: asyncpg.Connection) -> None:
    posting = await start()
    outcomes = await asyncio.gather(*(posting.post(pay(n + 1), None, 5) for n in range(200)))
    assert {accepted(outcome).transaction.amount for outcome in outcomes} == set(range(1, 201))
    assert len(await stored(connection)) == 200
    assert await connection.fetchval("SELECT count(*) FROM batches") < 20
    assert await connection.fetchval("SELECT sum(size) FROM batches") == 200


class Watching:
    """A waiter that notes whether the payment with the key is being committed when its own answer comes."""

    def __init__(self, posting: Posting, other: Key) -> None:
        self._posting, self._other = posting, other
        self.is_other_committing = asyncio.get_running_loop().create_future()

    def done(self) -> bool:
        return False

    def set_result(self, outcome: Outcome) -> None:
        accepted(outcome)
        other = self._posting._callers.under_way(self._other)
        self.is_other_committing.set_result(other is not None and other.is_committing)


async def test_the_next_commit_begins_before_the_answers_to_the_last(
    start: Apis, database_url: str, connection: asyncpg.Connection
) -> None:
    posting = await start()
    await connection.execute("BEGIN; LOCK TABLE transactions IN SHARE MODE")
    first = Watching(posting, key("next"))
    assert posting.offer(pay(1), key("first"), first, asyncio.get_running_loop().time() + 10, "")
    await until_waiting(database_url)
    following = asyncio.create_task(posting.post(pay(2), key("next"), 10))
    await asyncio.sleep(0)
    await connection.execute("COMMIT")
    assert await first.is_other_committing
    assert not accepted(await following).replayed


async def test_the_same_key_through_two_apis_at_once_pays_once(start: Apis, connection: asyncpg.Connection) -> None:
    apis = [await start(), await start()]
    for number in range(100):
        outcomes = await asyncio.gather(*(api.post(pay(), key(number), 5) for api in apis))
        first, second = map(accepted, outcomes)
        assert first.transaction == second.transaction
        assert [first.replayed, second.replayed].count(False) == 1
    assert len(await stored(connection)) == 100


async def test_the_same_key_twice_in_one_batch_pays_once(start: Apis, connection: asyncpg.Connection) -> None:
    posting = await start()
    outcomes = await asyncio.gather(*(posting.post(pay(), key(n % 10), 5) for n in range(100)))
    assert len({accepted(outcome).transaction.id for outcome in outcomes}) == 10
    assert [accepted(outcome).replayed for outcome in outcomes].count(False) == 10
    assert len(await stored(connection)) == 10


async def test_a_policy_that_went_back_is_followed(start: Apis, caplog: pytest.LogCaptureFixture) -> None:
    posting = await start()
    suspended = Agreed(Terms(suspended="sending"), 7, None)
    posting._policies.current = Policy(7, {"bank1": suspended, "bank3": suspended})  # as known before a restore
    accepted(await posting.post(pay(), None, 5))
    posting._policies.current = Policy(7, {"bank3": suspended})
    accepted(await posting.post(pay(), None, 5))
    assert posting._policies.current == Policy(0)
    assert caplog.messages.count("the database has lost changes of terms: version 0 is in force after 7") == 2


def bulk() -> Bulk:
    return Bulk([pay()], pay().fingerprint)


@pytest.mark.parametrize("operation", [pay, bulk])
async def test_keys_in_opposite_orders_in_two_batches_pay_each_once(
    start: Apis, connection: asyncpg.Connection, operation: Callable[[], Operation]
) -> None:
    """They go in sorted: otherwise the batches would wait for each other, until the server kills one of them."""
    await connection.execute(SLOW_KEYS)
    apis = [await start(), await start()]
    before = deadlocks()
    for number in range(25):
        keys = [key(f"{number}/{n}") for n in range(20)]
        outcomes = await asyncio.gather(
            *(apis[0].post(operation(), each, 10) for each in keys),
            *(apis[1].post(operation(), each, 10) for each in reversed(keys)),
        )
        assert len({str(outcome.result) for outcome in outcomes if isinstance(outcome, Accepted)}) == 20
    assert len(await stored(connection)) == 500
    assert deadlocks() == before


SLOW_KEYS = """
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.002); RETURN NEW; END $$;
CREATE TRIGGER dawdle BEFORE INSERT ON idempotency_keys_1 FOR EACH ROW EXECUTE FUNCTION dawdle();
"""
"""Each key takes a while, so that two batches are in the midst of theirs at the same time."""


def deadlocks() -> float:
    """How often the database has killed a commit because two waited for each other."""
    return REGISTRY.get_sample_value("polka_commit_failures_total", {"reason": "DeadlockDetectedError"}) or 0


async def test_a_taken_key_does_not_hold_up_the_rest_of_its_batch(start: Apis, connection: asyncpg.Connection) -> None:
    first, second = await start(), await start()
    taken = accepted(await first.post(pay(1), key("taken"), 5))
    outcomes = await asyncio.gather(
        second.post(pay(1), key("taken"), 5), *(second.post(pay(n), key(n), 5) for n in range(2, 20))
    )
    assert accepted(outcomes[0]).transaction == taken.transaction
    assert not any(accepted(outcome).replayed for outcome in outcomes[1:])
    assert len(await stored(connection)) == 19


@pytest.mark.parametrize("api", ["the same api", "another api"])
async def test_a_key_with_another_body_is_refused(start: Apis, connection: asyncpg.Connection, api: str) -> None:
    first = await start()
    second = first if api == "the same api" else await start()
    accepted(await first.post(pay(1), key("k"), 5))
    outcome = await second.post(pay(2), key("k"), 5)
    assert isinstance(outcome, Refused)
    assert outcome.refusal is Refusal.KEY_REUSED
    assert [row["amount"] for row in await stored(connection)] == [1]


async def test_callers_have_keys_of_their_own(start: Apis, connection: asyncpg.Connection) -> None:
    posting = await start()
    ours = accepted(await posting.post(pay(1), ("us", "k"), 5))
    theirs = accepted(await posting.post(pay(2), ("them", "k"), 5))
    assert ours.transaction.id != theirs.transaction.id


async def test_a_refusal_is_replayed_and_its_key_never_pays(start: Apis, connection: asyncpg.Connection) -> None:
    first, second = await start(), await start()
    no = Refused(Refusal.UNKNOWN_BANK, "there is no bank X", "sender.bank")
    assert await first.refuse(pay().fingerprint, key("k"), no, 5) == no
    assert await first.post(pay(), key("k"), 5) == no
    assert await second.post(pay(), key("k"), 5) == no
    assert await stored(connection) == []


async def test_a_refusal_waits_for_the_commit_that_has_its_key(
    start: Apis, database_url: str, connection: asyncpg.Connection
) -> None:
    """Otherwise a client is told no, and finds its payment later."""
    first, second = await start(), await start()
    await connection.execute(SLOW_COMMITS)
    await connection.execute("SELECT pg_advisory_lock(42)")
    paying = asyncio.create_task(first.post(pay(), key("k"), 10))
    await until_waiting(database_url)
    refusing = asyncio.create_task(second.refuse(pay().fingerprint, key("k"), Refused(Refusal.UNKNOWN_BANK, "no"), 10))
    await until_waiting(database_url, 2)
    assert not refusing.done()
    await connection.execute("SELECT pg_advisory_unlock(42)")
    paid, refused = accepted(await paying), accepted(await refusing)
    assert refused.transaction == paid.transaction
    assert refused.replayed


async def test_an_impatient_caller_in_the_queue_is_told_that_nothing_was_recorded(
    start: Apis, database_url: str, connection: asyncpg.Connection
) -> None:
    posting = await start()
    accepted(await posting.post(pay(1), None, 5))
    await connection.execute("BEGIN; LOCK TABLE transactions IN SHARE MODE")
    in_commit = asyncio.create_task(posting.post(pay(2), key("in commit"), 0.3))
    await until_waiting(database_url)
    queued = await posting.post(pay(3), key("queued"), 0.05)
    assert isinstance(queued, Refused)
    assert queued.refusal is Refusal.TIMEOUT
    unknown = await in_commit
    assert isinstance(unknown, Refused)
    assert unknown.refusal is Refusal.OUTCOME_UNKNOWN_IN_TIME
    await connection.execute("COMMIT")
    assert accepted(await posting.post(pay(2), key("in commit"), 5)).replayed
    assert not accepted(await posting.post(pay(3), key("queued"), 5)).replayed
    assert [row["amount"] for row in await stored(connection)] == [1, 2, 3]


async def test_a_full_queue_takes_no_more_and_forgets_nobody(
    start: Apis, database_url: str, connection: asyncpg.Connection
) -> None:
    posting = await start(queue_payments_max=3)
    accepted(await posting.post(pay(1), None, 5))
    await connection.execute("BEGIN; LOCK TABLE transactions IN SHARE MODE")
    in_commit = asyncio.create_task(posting.post(pay(2), key(2), 10))
    await until_waiting(database_url)
    queued = [asyncio.create_task(posting.post(pay(n), key(n), 10)) for n in (3, 4, 5)]
    await asyncio.sleep(0)
    for _ in range(3):
        over = await posting.post(pay(6), key(6), 10)
        assert isinstance(over, Refused)
        assert over.refusal is Refusal.OVERLOADED
    again = asyncio.create_task(posting.post(pay(3), key(3), 10))
    await connection.execute("COMMIT")
    for outcome in await asyncio.gather(in_commit, *queued, again):
        accepted(outcome)
    assert not accepted(await posting.post(pay(6), key(6), 5)).replayed
    assert [row["amount"] for row in await stored(connection)] == [1, 2, 3, 4, 5, 6]
    for _ in range(20):  # what was refused or is done takes no place
        accepted(await posting.post(pay(7), None, 5))


async def test_a_flood_of_one_bank_fills_its_own_place_and_others_pay_in_the_next_batch(
    start: Apis, database_url: str, connection: asyncpg.Connection
) -> None:
    """Its bulk request waits, too. An operator's correction of its payment finds room, and goes ahead of the flood."""
    posting = await start(queue_payments_max=10, batch_size_max=4)
    paid = accepted(await posting.post(pay(1), None, 5)).transaction
    await connection.execute("BEGIN; LOCK TABLE transactions IN SHARE MODE")
    flood = [asyncio.create_task(posting.post(pay(2), None, 60))]
    await until_waiting(database_url)
    many = Bulk([pay(3) for _ in range(7)], "00", bank="bank1")
    flood += [asyncio.create_task(posting.post(one, None, 60)) for one in (many, pay(4), pay(5), pay(6))]
    await asyncio.sleep(0)
    over = await posting.post(pay(7), None, 60)
    assert isinstance(over, Refused)
    assert over.refusal is Refusal.OVERLOADED
    deletion = Change(paid, msgspec.structs.replace(paid, status="deleted"), "00", POLKA, None)
    other = Pay(Payment(Party("bank2", "A1"), Party("bank1", "B1"), 8, "USD"))
    others = [asyncio.create_task(posting.post(one, None, 60)) for one in (other, deletion)]
    await asyncio.sleep(0)
    await connection.execute("COMMIT")
    batches = {accepted(await one).transaction.batch for one in others}
    assert len(batches) == 1
    await asyncio.gather(*flood)
    behind = [str(row["batch"]) for row in await stored(connection) if 3 <= row["amount"] <= 6]
    assert len(behind) == 10
    assert min(behind) > max(batches), "the names of batches are in their order"


async def test_one_impatient_caller_cancels_nobody_else(
    start: Apis, database_url: str, connection: asyncpg.Connection
) -> None:
    posting = await start()
    await connection.execute("BEGIN; LOCK TABLE transactions IN SHARE MODE")
    first = asyncio.create_task(posting.post(pay(1), None, 10))
    await until_waiting(database_url)
    impatient = asyncio.create_task(posting.post(pay(2), key("k"), 0.05))
    patient = asyncio.create_task(posting.post(pay(2), key("k"), 10))
    others = [asyncio.create_task(posting.post(pay(n), None, 10)) for n in range(3, 6)]
    assert isinstance(await impatient, Refused)
    await connection.execute("COMMIT")
    assert [accepted(outcome).transaction.amount for outcome in await asyncio.gather(first, patient, *others)] == [
        1,
        2,
        3,
        4,
        5,
    ]


OUR_WRITER = "FROM pg_stat_activity WHERE application_name = 'polka api writer' AND datname = current_database()"


async def test_a_statement_that_is_cancelled_is_tried_again(
    start: Apis, database_url: str, connection: asyncpg.Connection
) -> None:
    posting = await start()
    await connection.execute("BEGIN; LOCK TABLE transactions IN SHARE MODE")
    paying = asyncio.create_task(posting.post(pay(), key("k"), 10))
    await until_waiting(database_url)
    assert await connection.fetchval(f"SELECT count(pg_cancel_backend(pid)) {OUR_WRITER}") == 1
    await until_waiting(database_url)
    await connection.execute("COMMIT")
    accepted(await paying)
    assert len(await stored(connection)) == 1


@pytest.mark.parametrize(("severity", "is_certain"), [("ERROR", True), ("FATAL", False), ("PANIC", False)])
async def test_only_what_the_server_calls_an_error_is_a_certain_failure(severity: str, is_certain: bool) -> None:
    """A server that stops may do so after the commit that it interrupts."""
    fields = {"S": severity, "V": severity, "C": "57P01", "M": "terminating connection"}
    assert database.failed_for_sure(asyncpg.PostgresError.new(fields)) is is_certain


async def test_a_session_that_is_ended_is_settled(
    start: Apis, database_url: str, connection: asyncpg.Connection
) -> None:
    """A FATAL says nothing about the commit that it interrupts."""
    posting = await start()
    await connection.execute("BEGIN; LOCK TABLE transactions IN SHARE MODE")
    paying = [asyncio.create_task(posting.post(pay(n), key(n), 10)) for n in range(1, 4)]
    await until_waiting(database_url)
    assert await connection.fetchval(f"SELECT count(pg_terminate_backend(pid)) {OUR_WRITER}") == 1
    await connection.execute("COMMIT")
    for outcome in await asyncio.gather(*paying):
        accepted(outcome)
    assert sorted(row["amount"] for row in await stored(connection)) == [1, 2, 3]


async def test_storms_of_repeats_through_three_apis_pay_each_key_once(
    start: Apis, connection: asyncpg.Connection
) -> None:
    apis = [await start(recent_keys_max=5) for _ in range(3)]
    chance = random.Random(7)
    requests = [n % 60 for n in range(600)]
    chance.shuffle(requests)
    outcomes = await asyncio.gather(*(chance.choice(apis).post(pay(n + 1), key(n), 20) for n in requests))
    ids: dict[int, set[str]] = {}
    for number, outcome in zip(requests, outcomes, strict=True):
        ids.setdefault(number, set()).add(accepted(outcome).transaction.id)
    assert all(len(found) == 1 for found in ids.values())
    assert sorted(row["amount"] for row in await stored(connection)) == list(range(1, 61))


async def test_a_lookup_that_hangs_holds_up_nobody_else(
    start: Apis, database_url: str, connection: asyncpg.Connection
) -> None:
    """What is looked up for one batch, the writer does not wait for."""
    first, second = await start(), await start()
    taken = accepted(await first.post(pay(1), key("taken"), 5))
    await connection.execute("BEGIN; LOCK TABLE transaction_history")
    repeating = asyncio.create_task(second.post(pay(1), key("taken"), 20))
    await until_waiting(database_url)
    for number in range(20):
        assert not accepted(await second.post(pay(2), key(number), 5)).replayed
    assert not repeating.done()
    await connection.execute("COMMIT")
    assert accepted(await repeating).transaction == taken.transaction


async def test_a_caller_whom_the_server_cannot_wait_for_is_told_what_is_true(
    start: Apis, database_url: str, connection: asyncpg.Connection
) -> None:
    """A server that stops cancels who still waits after its grace."""
    posting = await start()
    accepted(await posting.post(pay(1), None, 5))
    await connection.execute("BEGIN; LOCK TABLE transactions IN SHARE MODE")
    in_commit = asyncio.create_task(posting.post(pay(2), None, 60))
    await until_waiting(database_url)
    queued = asyncio.create_task(posting.post(pay(3), None, 60))
    await asyncio.sleep(0)
    told = []
    for waiting in (in_commit, queued):
        waiting.cancel()
        told.append(await waiting)
    await connection.execute("COMMIT")
    await posting.settled()
    assert told == [OUTCOME_UNKNOWN_IN_TIME, TIMEOUT]
    assert [row["amount"] for row in await stored(connection)] == [1, 2]


async def test_a_refusal_of_a_newer_polka_is_none_that_ends_this_one(
    start: Apis, connection: asyncpg.Connection
) -> None:
    """After a rollback its rows are still there."""
    posting = await start()
    await connection.execute(
        "INSERT INTO idempotency_keys (caller, key, fingerprint, refusal) "
        "VALUES ('tester', 'k', decode($1, 'hex'), $2)",
        pay().fingerprint,
        '{"refusal": "OF_TOMORROW", "detail": "You may not yet.", "field": null}',
    )
    outcome = await posting.post(pay(), key("k"), 5)
    assert isinstance(outcome, Refused)
    assert outcome.detail == "You may not yet."
    accepted(await posting.post(pay(), key("other"), 5))


async def suspend(connection: asyncpg.Connection, suspended: str) -> None:
    """Change bank1's terms behind the back of all apis."""
    version = await connection.fetchval("SELECT coalesce(max(version), 0) FROM bank_terms")
    await connection.execute(
        "SELECT polka_change_terms('bank1', $1, '{}', $2, '{}', '{}', 'a test')", version, suspended
    )


async def test_a_payment_decided_under_another_policy_is_decided_anew(
    start: Apis, connection: asyncpg.Connection
) -> None:
    """Nobody tells the api of the change but its commit, which fails."""
    posting = await start()
    await suspend(connection, "sending")
    outcomes = await asyncio.gather(*(posting.post(pay(n + 1), key(n), 5) for n in range(20)))
    assert {outcome.refusal for outcome in outcomes if isinstance(outcome, Refused)} == {Refusal.BANK_SUSPENDED}
    assert await stored(connection) == []
    await suspend(connection, "no")
    assert await posting.post(pay(1), key(0), 5) == outcomes[0]
    assert not accepted(await posting.post(pay(2), key("new"), 5)).replayed


async def test_a_payment_that_waits_is_decided_under_the_policy_of_its_commit(
    start: Apis, database_url: str, connection: asyncpg.Connection
) -> None:
    posting = await start()
    accepted(await posting.post(pay(1), None, 5))
    await connection.execute(SLOW_COMMITS)
    await connection.execute("SELECT pg_advisory_lock(42)")
    in_commit = asyncio.create_task(posting.post(pay(2), key(2), 10))
    await until_waiting(database_url)
    queued = asyncio.create_task(posting.post(pay(3), key(3), 10))
    changer = await asyncpg.connect(database_url)
    changing = asyncio.create_task(suspend(changer, "both"))
    await until_waiting(database_url, 2)
    await connection.execute("SELECT pg_advisory_unlock(42)")
    accepted(await in_commit)
    refused = await queued
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.BANK_SUSPENDED
    await changing
    await changer.close()
    assert [row["amount"] for row in await stored(connection)] == [1, 2]
