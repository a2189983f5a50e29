"""Idempotency keys at the edge of two generations, on real connections: a key pays once, on whichever side it comes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest

import older
from api.http.refusals import Refusal, Refused
from api.posting import commits
from api.posting.batches import Batch, Outcome, Pending
from api.posting.generations import Generation
from api.posting.posting import Posting
from locks import until_waiting
from polka.rules.policy import Policy
from polka.store.database_errors import OUTDATED_KEYS
from posts import SLOW_COMMITS, Apis, accepted, key, pay, stored

pytestmark = pytest.mark.anyio

BEGIN = "SELECT polka_begin_keys(interval '0')"
DROP = "SELECT polka_drop_keys()"
BUSY = asyncpg.LockNotAvailableError
NO = Refused(Refusal.CONFLICT, "No.")


@pytest.fixture
async def another(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def begin(connection: asyncpg.Connection) -> int:
    """Begin the next generation, whatever the time, as soon as nothing is in its way."""
    while True:
        with suppress(BUSY):
            await connection.fetchval(DROP)
            if number := await connection.fetchval(BEGIN):
                return int(number)


async def paid_once(connection: asyncpg.Connection) -> bool:
    """Whether each reference has one payment."""
    count = "SELECT count(*) = count(DISTINCT reference) AND count(*) > 0 FROM transactions"
    return bool(await connection.fetchval(count))


async def held_up(posting: Posting, connection: asyncpg.Connection, database_url: str) -> asyncio.Task[Outcome]:
    """A payment whose commit waits until the connection gives its lock back."""
    await connection.execute(SLOW_COMMITS)
    await connection.execute("SELECT pg_advisory_lock(42)")
    paying = asyncio.create_task(posting.post(pay(1), key("k"), 30))
    await until_waiting(database_url)
    return paying


async def test_a_generation_begins_only_after_all_commits_in_flight(
    start: Apis, connection: asyncpg.Connection, another: asyncpg.Connection, database_url: str
) -> None:
    first, second = await start(), await start()
    paying = await held_up(first, connection, database_url)
    with pytest.raises(BUSY):
        await another.fetchval(BEGIN)
    await connection.execute("SELECT pg_advisory_unlock(42)")
    made = accepted(await paying).transaction
    assert await another.fetchval(BEGIN) == 2
    again = accepted(await second.post(pay(1), key("k"), 30))
    assert (again.transaction.id, again.replayed) == (made.id, True)
    assert len(await stored(connection)) == 1


async def test_it_waits_for_a_refusal_in_flight_too(
    start: Apis, connection: asyncpg.Connection, another: asyncpg.Connection, database_url: str
) -> None:
    """The refusal waits for a commit that holds its key, and then replays its answer."""
    first, second = await start(), await start()
    paying = await held_up(first, connection, database_url)
    refusing = asyncio.create_task(second.refuse(pay(1).fingerprint, key("k"), NO, 30))
    await until_waiting(database_url, 2)
    with pytest.raises(BUSY):
        await another.fetchval(BEGIN)
    await connection.execute("SELECT pg_advisory_unlock(42)")
    assert accepted(await paying).transaction == accepted(await refusing).transaction


async def test_a_start_of_a_generation_that_dies_half_way_has_begun_nothing(
    start: Apis, connection: asyncpg.Connection, another: asyncpg.Connection, database_url: str
) -> None:
    posting = await start()
    await another.execute("BEGIN")
    assert await another.fetchval(BEGIN) == 2
    paying = asyncio.create_task(posting.post(pay(1), key("k"), 30))
    await until_waiting(database_url)
    another.terminate()
    accepted(await paying)
    assert await connection.fetchval("SELECT count(*) FROM idempotency_keys_1") == 1
    assert await connection.fetchval("SELECT number FROM idempotency_generation") == 1


async def test_two_caches_begin_one_generation(connection: asyncpg.Connection, another: asyncpg.Connection) -> None:
    await another.execute("BEGIN")
    assert await another.fetchval(BEGIN) == 2
    for statement in (BEGIN, DROP):
        with pytest.raises(BUSY):
            await connection.fetchval(statement)
    await another.execute("COMMIT")
    assert await connection.fetchval("SELECT polka_begin_keys(interval '1 hour')") is None
    assert await connection.fetchval("SELECT number FROM idempotency_generation") == 2


async def test_a_generation_lasts_as_long_as_a_key_is_kept(connection: asyncpg.Connection) -> None:
    await connection.execute("UPDATE idempotency_generation SET began_at = now() - interval '59 minutes'")
    assert await connection.fetchval("SELECT polka_begin_keys(interval '1 hour')") is None
    await connection.execute("UPDATE idempotency_generation SET began_at = now() - interval '61 minutes'")
    assert await connection.fetchval("SELECT polka_begin_keys(interval '1 hour')") == 2


async def test_a_key_is_kept_for_a_whole_generation_after_its_own(start: Apis, connection: asyncpg.Connection) -> None:
    """Also the key of a refusal: an attempt in the next generation gets the first answer."""
    apis = [await start() for _ in range(3)]
    made = accepted(await apis[0].post(pay(1), key("paid"), 30)).transaction
    assert await apis[0].refuse(pay(2).fingerprint, key("refused"), NO, 30) == NO
    assert await begin(connection) == 2
    assert await connection.fetchval(DROP) == 0
    assert accepted(await apis[1].post(pay(1), key("paid"), 30)).transaction == made
    assert accepted(await apis[1].refuse(pay(1).fingerprint, key("paid"), NO, 30)).transaction == made
    assert await apis[1].post(pay(2), key("refused"), 30) == NO
    assert len(await stored(connection)) == 1
    assert await begin(connection) == 3
    assert accepted(await apis[2].post(pay(1), key("paid"), 30)).transaction.id != made.id  # found, if still there
    for _ in range(2):  # as long as both answers are there, and then
        again = accepted(await (await start()).post(pay(1), key("paid"), 30))
        assert (again.transaction.id != made.id, again.replayed) == (True, True)
        assert await connection.fetchval("SELECT count(*) FROM idempotency_keys WHERE key = 'paid'") in (1, 2)
        await connection.fetchval(DROP)
    assert len(await stored(connection)) == 2


async def test_an_api_that_slept_through_three_generations_pays_nothing_twice(
    start: Apis, connection: asyncpg.Connection
) -> None:
    """By then the table that it knows is in use again."""
    sleeper, another = await start(), await start()
    accepted(await sleeper.post(pay(1), key("before"), 30))
    for number in (2, 3):
        assert await begin(connection) == number
    made = accepted(await another.post(pay(2), key("k"), 30)).transaction
    assert await begin(connection) == 4
    outcomes = await asyncio.gather(sleeper.post(pay(2), key("k"), 30), sleeper.post(pay(3), key("new"), 30))
    assert accepted(outcomes[0]).transaction == made
    assert not accepted(outcomes[1]).replayed
    assert await connection.fetchval("SELECT count(*) FROM idempotency_keys_1") == 1
    assert len(await stored(connection)) == 3


async def test_an_api_that_slept_over_the_edge_refuses_nothing_that_was_paid(
    start: Apis, connection: asyncpg.Connection
) -> None:
    sleeper, another = await start(), await start()
    assert await sleeper.refuse(pay(1).fingerprint, key("before"), NO, 30) == NO
    assert await begin(connection) == 2
    made = accepted(await another.post(pay(2), key("k"), 30)).transaction
    assert accepted(await sleeper.refuse(pay(2).fingerprint, key("k"), NO, 30)).transaction == made
    assert await sleeper.refuse(pay(3).fingerprint, key("new"), NO, 30) == NO
    assert await connection.fetchval("SELECT count(*) FROM idempotency_keys_2") == 2


async def test_a_generation_of_a_history_that_was_cut_off_is_outdated(connection: asyncpg.Connection) -> None:
    """After a restore the same number may name another generation."""
    known = Generation(1, await connection.fetchval("SELECT began_at FROM idempotency_generation"))
    await connection.execute("UPDATE idempotency_generation SET began_at = began_at + interval '1 microsecond'")
    operation = pay(1)
    batch = Batch([Pending(operation, key("k"), operation.fingerprint, operation, Policy(0))])
    with pytest.raises(asyncpg.PostgresError) as failed:
        await commits.commit(connection, batch, known)
    assert failed.value.sqlstate == OUTDATED_KEYS
    assert not await stored(connection)


async def test_emptying_a_table_waits_for_readers_and_holds_up_no_payment(
    start: Apis, connection: asyncpg.Connection, another: asyncpg.Connection, database_url: str
) -> None:
    posting = await start()
    accepted(await posting.post(pay(1), key("old"), 30))
    for number in (2, 3):
        assert await begin(connection) == number
    accepted(await posting.post(pay(2), key("new"), 30))
    await another.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert await another.fetchval("SELECT count(*) FROM idempotency_keys") == 2
    await connection.execute("ALTER FUNCTION polka_drop_keys() RESET lock_timeout")
    dropping = asyncio.create_task(connection.fetchval(DROP))
    await until_waiting(database_url)
    accepted(await posting.post(pay(3), key("meanwhile"), 30))
    assert not dropping.done()
    await another.execute("COMMIT")
    assert await dropping == 1
    assert len(await stored(connection)) == 3


async def test_a_generation_does_not_begin_before_its_table_is_empty(
    start: Apis, connection: asyncpg.Connection, another: asyncpg.Connection
) -> None:
    posting = await start()
    accepted(await posting.post(pay(1), key("old"), 30))
    for number in (2, 3):
        assert await begin(connection) == number
    await another.execute("BEGIN")
    await another.fetch("SELECT FROM idempotency_keys")
    with pytest.raises(BUSY):
        await connection.fetchval(DROP)
    assert await connection.fetchval(BEGIN) is None
    await another.execute("COMMIT")
    assert await begin(connection) == 4


async def test_the_same_key_on_both_sides_of_the_edge_at_once_pays_once(
    start: Apis, connection: asyncpg.Connection, another: asyncpg.Connection
) -> None:
    """Two apis and an older one get each key while a generation begins, and each gets it again behind the edge."""
    first, second = await start(), await start()
    for number in range(60):
        own, operation = key(number), pay(1, f"payment {number}")
        outcomes = await asyncio.gather(
            first.post(operation, own, 30),
            second.post(pay(1, f"payment {number}"), own, 30),
            pay_if_free(another, pay(1, f"payment {number}"), own),
            begin(connection),
        )
        made = accepted(outcomes[0]).transaction.id
        assert accepted(outcomes[1]).transaction.id == made
        assert str(await older.paid(another, own)) == made
        await pay_if_free(another, operation, own)
        fresh = await start()
        assert accepted(await fresh.post(operation, own, 30)).transaction.id == made
    assert len(await stored(connection)) == 60
    assert await paid_once(connection)


async def pay_if_free(connection: asyncpg.Connection, operation: object, own: tuple[str, str]) -> None:
    with suppress(asyncpg.UniqueViolationError):
        await older.pay(connection, operation, own)  # type: ignore[arg-type]


async def test_an_older_polka_and_this_one_see_each_others_keys(
    start: Apis, connection: asyncpg.Connection, another: asyncpg.Connection
) -> None:
    posting = await start()
    await older.pay(another, pay(1), key("theirs"))
    assert accepted(await posting.post(pay(1), key("theirs"), 30)).replayed
    ours = accepted(await posting.post(pay(2), key("ours"), 30)).transaction
    for _ in range(2):
        with pytest.raises(asyncpg.UniqueViolationError):
            await older.pay(another, pay(2), key("ours"))
        await older.refuse(another, pay(2), key("ours"), '{"refusal": "CONFLICT"}')
        await older.refuse(another, pay(2), key("ours"), None, '[{"refusal": "CONFLICT"}]')
        assert str(await older.paid(another, key("ours"))) == ours.id
        await begin(connection)  # what is in the previous generation is taken too
    await older.refuse(another, pay(3), key("refused"), '{"refusal": "CONFLICT", "detail": "No.", "field": null}')
    refused = await posting.post(pay(3), key("refused"), 30)
    assert isinstance(refused, Refused)
    assert refused.detail == "No."
    assert len(await stored(connection)) == 2


async def test_a_generation_begins_after_refusals_of_an_older_polka(
    connection: asyncpg.Connection, another: asyncpg.Connection
) -> None:
    await another.execute("BEGIN")
    await older.refuse(another, pay(1), key("k"), '{"refusal": "CONFLICT"}')
    with pytest.raises(BUSY):
        await connection.fetchval(BEGIN)
    await another.execute("COMMIT")
    assert await connection.fetchval(BEGIN) == 2


async def test_an_older_polka_prunes_the_keys_of_all_generations(
    start: Apis, connection: asyncpg.Connection, another: asyncpg.Connection
) -> None:
    """After a rollback nobody begins a generation any more."""
    posting = await start()
    accepted(await posting.post(pay(1), key("old"), 30))
    await begin(connection)
    await older.pay(another, pay(2), key("old too"))
    assert await another.execute(older.PRUNE, 3600.0, 5000) == "DELETE 0"
    await connection.execute("UPDATE idempotency_keys SET created_at = created_at - interval '2 hours'")
    await older.pay(another, pay(3), key("young"))
    assert await another.execute(older.PRUNE, 3600.0, 5000) == "DELETE 2"
    assert await connection.fetchval("SELECT string_agg(key, ',') FROM idempotency_keys") == "young"
