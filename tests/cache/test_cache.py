"""The cache as a process: what is pending, what is posted, and what survives lost connections."""

import asyncio
import json
import random
import re
import signal
import string
from uuid import UUID

import asyncpg
import httpx
import pytest

from committed import account_held, commit, held, new_id, state, tell, transfer
from exposed import page, read
from locks import until_waiting
from polka.audit import snapshot
from proof import clean_audit
from services import CACHE_TOKEN, KEY, QUICK, SLOW, Services, bearer, cache_client, client, until
from waiting import WAIT_SECONDS
from wire import Fault, Wire, is_commit

pytestmark = pytest.mark.anyio

POSTED = "INSERT INTO batches (id, size, payload, state, flush, posted_at) VALUES ($1, 1, $2, 'posted', 1, now())"


async def balance(connection: asyncpg.Connection, bank: str) -> int:
    return int(await connection.fetchval("SELECT sum(balance) FROM balances WHERE bank = $1", bank) or 0)


async def test_a_told_batch_is_pending_until_a_flush_posts_it(
    services: Services, connection: asyncpg.Connection
) -> None:
    cache = services.cache(POLKA_FLUSH_SECONDS="0.5").ready()
    batch = new_id()
    assert tell(cache.url, batch, transfer(100))["pending"] == 1
    assert held(cache.url, "bank1") == (0, -100)
    assert held(cache.url, "bank2") == (0, 100)
    assert account_held(cache.url, "bank2", "B1") == (0, 100)
    await commit(connection, transfer(100), batch)
    await until("the batch is posted", lambda: held(cache.url, "bank1") == (-100, 0))
    assert account_held(cache.url, "bank1", "A1") == (-100, 0)
    assert account_held(cache.url, "bank2", "B1") == (100, 0)
    assert await state(connection, batch) == "posted"
    await clean_audit(services.database_url, cache.url)


async def test_the_same_post_again_changes_nothing(services: Services) -> None:
    cache = services.cache(**SLOW).ready()
    batch = new_id()
    for _ in range(3):
        assert tell(cache.url, batch, transfer(100))["pending"] == 1
    assert held(cache.url, "bank1") == (0, -100)


async def test_a_batch_that_replaces_a_failed_one_takes_its_place(services: Services) -> None:
    cache = services.cache(**SLOW).ready()
    failed, second = new_id(), new_id()
    tell(cache.url, failed, transfer(100))
    tell(cache.url, second, transfer(100), replaces=[failed])
    assert held(cache.url, "bank1") == (0, -100)


async def test_batches_that_it_never_heard_of_are_posted_all_the_same(
    services: Services, connection: asyncpg.Connection
) -> None:
    before = [await commit(connection, transfer(n)) for n in range(1, 11)]
    cache = services.cache(**QUICK).ready()
    assert held(cache.url, "bank1") == (-55, 0)  # what was committed when it began is posted before it answers
    later = [await commit(connection, transfer(n)) for n in range(1, 11)]
    await until("all is posted", lambda: held(cache.url, "bank1") == (-110, 0))
    assert {await state(connection, batch) for batch in before + later} == {"posted"}
    await clean_audit(services.database_url, cache.url)


async def test_what_is_posted_is_what_the_row_says_not_what_memory_holds(
    services: Services, connection: asyncpg.Connection
) -> None:
    cache = services.cache(**QUICK).ready()
    batch = new_id()
    tell(cache.url, batch, transfer(999))
    await commit(connection, transfer(100), batch)
    await until("the batch is posted", lambda: held(cache.url, "bank1") == (-100, 0))
    assert await balance(connection, "bank1") == -100
    await clean_audit(services.database_url, cache.url)


async def test_a_post_after_its_batch_was_posted_is_not_held_again(
    services: Services, connection: asyncpg.Connection
) -> None:
    cache = services.cache(**QUICK).ready()
    batch = await commit(connection, transfer(100))
    await until("the batch is posted", lambda: held(cache.url, "bank1") == (-100, 0))
    assert tell(cache.url, batch, transfer(100))["pending"] == 0
    assert held(cache.url, "bank1") == (-100, 0)
    cache.kill()
    cache.restart()
    assert tell(cache.url, batch, transfer(100))["pending"] == 0
    assert held(cache.url, "bank1") == (-100, 0)


async def test_a_post_older_than_its_memory_is_not_held(services: Services) -> None:
    cache = services.cache(**SLOW).ready()
    long_ago = UUID(int=(1_700_000_000_000 << 80) | (7 << 76) | (2 << 62))
    assert tell(cache.url, long_ago, transfer(100))["pending"] == 0
    assert held(cache.url, "bank1") == (0, 0)


async def test_a_batch_that_is_never_committed_gets_a_tombstone_and_cannot_be_any_more(
    services: Services, connection: asyncpg.Connection
) -> None:
    cache = services.cache(**QUICK, POLKA_PENDING_SECONDS="0.5").ready()
    batch = new_id()
    tell(cache.url, batch, transfer(100))
    assert held(cache.url, "bank1") == (0, -100)
    await until("it is given up", lambda: held(cache.url, "bank1") == (0, 0))
    assert await state(connection, batch) == "void"
    with pytest.raises(asyncpg.UniqueViolationError):
        await commit(connection, transfer(100), batch)
    assert tell(cache.url, batch, transfer(100))["pending"] == 0  # nor is it held again
    cache.kill()
    cache.restart()
    assert tell(cache.url, batch, transfer(100))["pending"] == 0


async def test_a_tombstone_waits_for_a_commit_in_flight(services: Services, connection: asyncpg.Connection) -> None:
    """No clock decides: a slow commit may arrive after any deadline."""
    cache = services.cache(**QUICK, POLKA_PENDING_SECONDS="0.3").ready()
    batch = new_id()
    slow = await asyncpg.connect(services.database_url)
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute("INSERT INTO batches (id, size, payload) VALUES ($1, 1, $2)", batch, json.dumps(transfer(100)))
    tell(cache.url, batch, transfer(100))
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%void%'"
    async with asyncio.timeout(WAIT_SECONDS):
        while not await connection.fetchval(blocked):
            await asyncio.sleep(0.02)
    assert held(cache.url, "bank1") == (0, -100)
    async with connection.transaction():
        await connection.execute("SELECT FROM epoch FOR UPDATE")  # no flush comes between
        await transaction.commit()
        found = re.compile(r'polka_tombstones_total\{state="(\w+)"\} [1-9]')
        await until("the tombstone has found it", lambda: found.search(page(cache.metrics_url)))
        assert found.findall(read(cache.metrics_url)) == ["unposted"]
        assert held(cache.url, "bank1") == (0, -100)
    await slow.close()
    await until("the batch is posted", lambda: held(cache.url, "bank1") == (-100, 0))
    assert await state(connection, batch) == "posted"


async def test_a_batch_posted_by_a_flush_that_memory_has_not_stays_pending(
    services: Services, connection: asyncpg.Connection
) -> None:
    """A tombstone finds it posted before the cache has absorbed that flush."""
    cache = services.cache(**QUICK, POLKA_PENDING_SECONDS="0.3").ready()
    batch = new_id()
    await connection.execute(POSTED, batch, json.dumps(transfer(100)))
    tell(cache.url, batch, transfer(100))
    found = 'polka_tombstones_total{state="posted"}'
    await until("a tombstone finds it", lambda: found in page(cache.metrics_url))
    assert held(cache.url, "bank1") == (0, -100)


async def test_a_batch_posted_by_a_flush_that_memory_has_is_pending_no_more(
    services: Services, connection: asyncpg.Connection
) -> None:
    """One that came so late that its id was forgotten: it would count twice for ever."""
    cache = services.cache(**QUICK, POLKA_PENDING_SECONDS="0.3").ready()
    await commit(connection, transfer(7))
    await until("memory has the first flush", lambda: held(cache.url, "bank1") == (-7, 0))
    batch = new_id()
    await connection.execute(POSTED, batch, json.dumps(transfer(100)))
    assert tell(cache.url, batch, transfer(100))["pending"] == 1
    await until("a tombstone finds it", lambda: held(cache.url, "bank1") == (-7, 0))
    assert tell(cache.url, batch, transfer(100))["pending"] == 0


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name)
async def test_a_flush_whose_connection_is_lost_posts_each_batch_once(
    services: Services, wire: Wire, connection: asyncpg.Connection, fault: Fault
) -> None:
    """Lost before the COMMIT, after it, or with a backend that lives on and commits later."""
    services.database_url = wire.url
    cache = services.cache(**QUICK).ready()
    await commit(connection, transfer(1))
    await until("the first is posted", lambda: held(cache.url, "bank1") == (-1, 0))
    batch, told = new_id(), asyncio.Event()
    wire.arm(fault, lambda message: is_commit(message) and told.is_set())
    tell(cache.url, batch, transfer(100))
    await commit(connection, transfer(100), batch)
    told.set()
    assert await asyncio.to_thread(wire.struck.wait, WAIT_SECONDS)
    if fault is Fault.DELAY:
        await asyncio.sleep(0.5)  # not a wait for anything: the backend lives on for a while
        await asyncio.to_thread(wire.release)
    await until("the batch is posted", lambda: held(cache.url, "bank1") == (-101, 0))
    assert await balance(connection, "bank1") == -101
    assert await connection.fetchval("SELECT number FROM epoch") > 1
    await clean_audit(services.database_url, cache.url)


async def test_of_two_caches_the_outdated_one_writes_nothing_and_ends(
    services: Services, connection: asyncpg.Connection
) -> None:
    # It is frozen between two flushes: Postgres would end the session of one that is in a transaction for seconds.
    first = services.cache(POLKA_FLUSH_SECONDS="5").ready()
    await commit(connection, transfer(1))
    await until("the first posts", lambda: held(first.url, "bank1") == (-1, 0))
    with first.frozen():
        second = services.another_cache(**QUICK).ready()
        await commit(connection, transfer(2))
        await until("the second posts", lambda: held(second.url, "bank1") == (-3, 0))
        flush = await connection.fetchval("SELECT number FROM flush")
        late = await commit(connection, transfer(4))
        await until("the second posts", lambda: held(second.url, "bank1") == (-7, 0))
    assert first.ended() == 75
    assert "Another cache has taken over" in first.log.read_text()
    assert "Traceback" not in first.log.read_text()
    assert await connection.fetchval("SELECT number FROM flush") == flush + 1
    assert await state(connection, late) == "posted"
    await clean_audit(services.database_url, second.url)


async def test_a_cache_that_was_frozen_in_a_flush_leaves_its_successor_alone(
    services: Services, connection: asyncpg.Connection
) -> None:
    """Postgres ends the session of a flush that waits for its cache; thawed, the cache would start anew."""
    first = services.cache(**QUICK).ready()
    holder = await asyncpg.connect(services.database_url)
    await holder.execute("BEGIN; SELECT FROM flush FOR UPDATE")
    await commit(connection, transfer(1))
    await until_waiting(services.database_url)
    with first.frozen():
        await holder.close()
        second = services.another_cache(**QUICK).ready()
        epoch = await connection.fetchval("SELECT number FROM epoch")
    assert first.ended() == 75
    assert "Another cache has taken over" in first.log.read_text()
    assert await connection.fetchval("SELECT number FROM epoch") == epoch
    assert second.is_ready()
    assert held(second.url, "bank1") == (-1, 0)
    await clean_audit(services.database_url, second.url)


async def test_a_flush_checks_the_epoch_it_was_begun_under(services: Services, connection: asyncpg.Connection) -> None:
    """The epoch is raised between two flushes, with batches waiting: none of them is posted by the old cache."""
    cache = services.cache(**QUICK).ready()
    async with connection.transaction():
        await connection.execute("UPDATE epoch SET number = number + 1")
        await asyncio.sleep(0)
    batch = await commit(connection, transfer(100))
    assert cache.ended() == 75
    assert await state(connection, batch) == "unposted"
    assert await balance(connection, "bank1") == 0


NOISE = "".join(random.Random(1).choices(string.ascii_letters, k=9_000))
POISON = {
    "no list": '{"a": 1}',
    "no entries": "[]",
    "not balanced": json.dumps([["bank1", "A1", "USD", -5], ["bank2", "B1", "USD", 6]]),
    "balanced only across currencies": json.dumps([["bank1", "A1", "USD", -5], ["bank2", "B1", "EUR", 5]]),
    "a text for an amount": json.dumps([["bank1", "A1", "USD", "-5"], ["bank2", "B1", "USD", 5]]),
    "too large": json.dumps([["bank1", "A1", "USD", -(10**15) - 1], ["bank2", "B1", "USD", 10**15 + 1]]),
    "an account too long for an index": json.dumps([["bank1", NOISE, "USD", -5], ["bank2", "B1", "USD", 5]]),
    "what the database refuses": json.dumps([["bank1", "A\0", "USD", -5], ["bank2", "B1", "USD", 5]]),
}


@pytest.mark.parametrize("payload", POISON.values(), ids=POISON.keys())
async def test_a_row_that_cannot_be_posted_is_set_aside_and_the_others_go_on(
    services: Services, connection: asyncpg.Connection, payload: str
) -> None:
    for n in range(1, 11):
        await commit(connection, transfer(n))
    bad = new_id()
    cache = services.cache(**QUICK, POLKA_FLUSH_PAYMENTS_MAX="64").ready()
    tell(cache.url, bad, transfer(5))
    await connection.execute("INSERT INTO batches (id, size, payload) VALUES ($1, 1, $2)", bad, payload)
    for n in range(11, 21):
        await commit(connection, transfer(n))
    await until("the others are posted", lambda: held(cache.url, "bank1")[0] == -210)
    assert await state(connection, bad) == "aside"
    assert held(cache.url, "bank1")[1] < 0  # pending, as far as its row, or else the api, says
    metrics = page(cache.metrics_url)
    assert "is set aside" in cache.log.read_text()
    assert "polka_aside_batches_total 1.0" in metrics
    done = await snapshot.audit(services.database_url)
    assert [found.subject for found in done.differences["No batch is set aside"]] == [str(bad)]


async def test_balances_know_no_bound(services: Services, connection: asyncpg.Connection) -> None:
    huge = 10**30
    await connection.execute("INSERT INTO balances VALUES ('bank1', 'USD', $1), ('bank2', 'USD', $2)", huge, -huge)
    await connection.execute("INSERT INTO accounts VALUES ('bank1', 'A1', 'USD', $1)", huge)
    cache = services.cache(**QUICK).ready()
    await commit(connection, transfer(1))
    await until("it is posted", lambda: held(cache.url, "bank1") == (huge - 1, 0))
    assert account_held(cache.url, "bank1", "A1") == (huge - 1, 0)
    assert await balance(connection, "bank2") == 1 - huge


async def test_ctrl_c_ends_it_cleanly(services: Services) -> None:
    cache = services.cache(**QUICK).ready()
    cache.send(signal.SIGINT)
    assert cache.ended() == 0
    assert "Traceback" not in cache.log.read_text()


async def test_idempotency_keys_are_forgotten_by_generations_and_their_transactions_stay(
    services: Services, connection: asyncpg.Connection
) -> None:
    await commit(connection, transfer(5))
    keys = (
        "INSERT INTO idempotency_keys (caller, key, fingerprint, transaction) SELECT 'me', $1, '', id FROM transactions"
    )
    number = "SELECT number FROM idempotency_generation"
    for generation in range(1, 5):
        await connection.execute(f"{keys} transactions", str(generation))
        await connection.execute("UPDATE idempotency_generation SET began_at = now() - interval '1 day'")
        cache = services.cache(**QUICK).ready()
        async with asyncio.timeout(WAIT_SECONDS):
            while await connection.fetchval(number) == generation or len(await kept(connection)) > 1:
                await asyncio.sleep(0.05)
        assert await kept(connection) == [str(generation)]
        cache.stop()
    assert await connection.fetchval("SELECT count(*) FROM transactions") == 1


async def kept(connection: asyncpg.Connection) -> list[str]:
    return [row["key"] for row in await connection.fetch("SELECT key FROM idempotency_keys ORDER BY key")]


SLOW_ROWS = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION slow();
"""


async def test_a_flush_that_takes_too_long_is_tried_with_less(
    services: Services, connection: asyncpg.Connection
) -> None:
    await connection.execute(SLOW_ROWS)
    settings = {"POLKA_FLUSH_PAYMENTS_MAX": "300", "POLKA_FLUSH_TIMEOUT_SECONDS": "3"}  # all at once would take 6 s
    for n in range(1, 301):
        await commit(connection, [("bank1", f"A{n}", "USD", -1), ("bank2", f"B{n}", "USD", 1)])
    cache = services.cache(**QUICK, **settings).ready()
    assert held(cache.url, "bank1") == (-300, 0)
    await clean_audit(services.database_url, cache.url)


async def test_it_answers_only_with_its_token_but_names_the_port_of_health_and_metrics(services: Services) -> None:
    cache = services.cache().ready()
    for headers in ({}, bearer(KEY), {"Authorization": CACHE_TOKEN}):
        for method, path in (("GET", "/balance"), ("POST", "/balance"), ("GET", "/balance/bank1"), ("GET", "/nothing")):
            response = httpx.request(
                method, f"{cache.url}{path}", headers=headers, trust_env=False, verify=False, timeout=WAIT_SECONDS
            )
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == 'Bearer realm="polka cache"'
    for path in ("/health/live", "/health/ready", "/metrics"):
        response = httpx.get(f"{cache.url}{path}", trust_env=False, verify=False, timeout=WAIT_SECONDS)
        assert response.status_code == 404
        assert "POLKA_METRICS_PORT" in response.json()["detail"]
        assert (
            httpx.get(f"{cache.metrics_url}{path}", trust_env=False, verify=False, timeout=WAIT_SECONDS).status_code
            == 200
        )
    assert cache_client.get(f"{cache.url}/balance").status_code == 200


async def test_an_api_with_another_token_says_so_and_goes_on_without_the_cache(services: Services) -> None:
    services.cache().ready()
    api = services.api(POLKA_CACHE_TOKEN="not the cache's token").ready()
    assert client.get(f"{api.url}/banks/bank1").json()["balances"] == []
    assert "POLKA_CACHE_TOKEN" in api.log.read_text()
