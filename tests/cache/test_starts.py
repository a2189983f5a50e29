"""A cache that starts: it answers nobody before its first flush, finds all that waits, and outlives its database."""

import asyncio
import json
from typing import Any

import asyncpg
import psutil
import pytest

from committed import account_held, commit, held, new_id, tell, transfer
from exposed import value
from polka.rules.liquidity import RESOLUTIONS
from polka.store import database, seed
from proof import clean_audit
from services import QUICK, Services, cache_client, until
from waiting import WAIT_SECONDS
from wire import Wire

pytestmark = pytest.mark.anyio


async def test_it_answers_nobody_before_its_first_flush(services: Services, connection: asyncpg.Connection) -> None:
    """Otherwise balances would go back in time when a cache starts."""
    batch = await commit(connection, transfer(100))
    holder = await asyncpg.connect(services.database_url)
    async with holder.transaction():
        await holder.execute("SELECT FROM batches WHERE id = $1 FOR UPDATE", batch)
        cache = services.cache(**QUICK)
        async with asyncio.timeout(WAIT_SECONDS):
            while not await connection.fetchval(WAITING_FLUSHES):
                await asyncio.sleep(0.01)
        assert cache_client.get(f"{cache.url}/balance/bank1").status_code == 503
    await holder.close()
    cache.ready()
    assert held(cache.url, "bank1") == (-100, 0)


WAITING_FLUSHES = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'polka cache flush' AND wait_event_type = 'Lock' AND datname = current_database()
"""


async def test_a_killed_cache_finds_everything_in_the_database(
    services: Services, connection: asyncpg.Connection
) -> None:
    cache = services.cache(**QUICK).ready()
    for n in range(1, 21):
        batch = new_id()
        tell(cache.url, batch, transfer(n))
        await commit(connection, transfer(n), batch)
        if n % 5 == 0:
            cache.kill()
            cache.restart()
    await until("all is posted", lambda: held(cache.url, "bank1") == (-210, 0))
    await clean_audit(services.database_url, cache.url)


async def test_a_row_set_aside_stays_pending_over_a_start(services: Services, connection: asyncpg.Connection) -> None:
    """What it would move is not free: a cap that it uses stays used."""
    cache = services.cache(**QUICK).ready()
    batch, unbalanced = new_id(), [("bank1", "A1", "USD", -5), ("bank2", "B1", "USD", 6)]
    await connection.execute(
        "INSERT INTO batches (id, size, payload) VALUES ($1, 1, $2)", batch, json.dumps(unbalanced)
    )
    await until("it is set aside", lambda: held(cache.url, "bank1") == (0, -5))
    cache.kill()
    cache.restart()
    assert held(cache.url, "bank1") == (0, -5)
    await until("it is shown", lambda: value(cache.metrics_url, "polka_set_aside_batches") == 1)
    assert value(cache.metrics_url, "polka_pending_batches") == 1
    assert value(cache.metrics_url, "polka_pending_oldest_seconds") == 0  # it waits for a person, not for a flush


BATCHES = """
INSERT INTO batches (id, size, payload, created_at)
SELECT uuidv(n), 100, (SELECT json_agg(e) FROM (
    SELECT json_build_array('bank1', 'A' || i, 'USD', -1) AS e FROM generate_series(1, 100) i
    UNION ALL SELECT json_build_array('bank2', 'B' || i, 'USD', 1) FROM generate_series(1, 100) i) entries),
    now() - interval '1 hour'
FROM generate_series($1::int, $2::int) n
"""

PAYMENTS = """
INSERT INTO transactions (id, batch, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency)
SELECT gen_random_uuid(), b.id, 'bank1', 'A' || i, 'bank2', 'B' || i, 1, 'USD' FROM batches b, generate_series(1, 100) i
"""

UUIDV = """
CREATE FUNCTION uuidv(n int) RETURNS uuid LANGUAGE sql AS
$$ SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$
"""


async def test_an_hour_of_unposted_batches_is_found_at_start_with_flat_memory(
    services: Services, connection: asyncpg.Connection
) -> None:
    """100,000 payments and then a million, both by a cache that starts: the memory of both is the same.

    The audit checks the first. The cache reads batches alone, so the million has no rows of payments, and all of its
    sums are known.
    """
    await connection.execute(UUIDV)
    resident = []
    cache = services.cache(**QUICK).ready()
    posted = 0
    for payments in (100_000, 1_000_000):
        cache.stop()
        await connection.execute(
            "ANALYZE batches"
        )  # when nothing waits: the planner then expects that nothing ever does
        await connection.execute(BATCHES, posted // 100 + 1, (posted + payments) // 100)
        if not posted:
            await connection.execute(PAYMENTS)
        posted += payments
        cache.restart(seconds=120)
        assert held(cache.url, "bank1") == (-posted, 0)
        resident.append(psutil.Process(cache.process.pid).memory_info().rss)
        if len(resident) == 1:
            await clean_audit(services.database_url, cache.url)
    assert resident[1] < 1.1 * resident[0], resident
    await see_posted(connection, posted)


async def see_posted(connection: asyncpg.Connection, payments: int) -> None:
    """See that each of the hundred accounts of bank1 has paid its share to one of bank2, in the first window."""
    share = payments // 100
    accounts = [("bank1", f"A{number}", -share) for number in range(1, 101)]
    accounts += [("bank2", f"B{number}", share) for number in range(1, 101)]
    expected: dict[str, list[tuple[Any, ...]]] = {
        "SELECT bank, account, balance FROM accounts WHERE balance <> 0": accounts,
        "SELECT bank, balance FROM balances WHERE balance <> 0": [("bank1", -payments), ("bank2", payments)],
        "SELECT state, window_id, count(*) FROM batches GROUP BY 1, 2": [("posted", 1, share)],
        "SELECT window_id, bank, debits, credits, count FROM window_totals": [
            (1, "bank1", payments, 0, payments),
            (1, "bank2", 0, payments, payments),
        ],
        "SELECT DISTINCT ON (resolution) owes, owed FROM liquidity_history ORDER BY resolution, start DESC": [
            (payments, payments)
        ]
        * len(RESOLUTIONS),
    }
    for query, rows in expected.items():
        assert sorted(map(tuple, await connection.fetch(query))) == sorted(rows), query


async def test_ten_thousand_banks_and_a_million_accounts(services: Services, connection: asyncpg.Connection) -> None:
    await seed.seed(services.database_url, 10_000, 1_000_000)
    await connection.execute("INSERT INTO balances SELECT name, 'USD', 0 FROM banks")
    await commit(connection, [("bank7", "ACC42", "USD", -5), ("bank9999", "ACC77", "USD", 5)])
    cache = services.cache(**QUICK).ready()
    assert account_held(cache.url, "bank9999", "ACC77") == (5, 0)
    assert account_held(cache.url, "bank7", "ACC42") == (-5, 0)
    assert held(cache.url, "bank9999") == (5, 0)


async def test_it_starts_once_a_dead_holder_of_the_epoch_is_gone(
    services: Services, connection: asyncpg.Connection
) -> None:
    """A flush of a predecessor that nobody hears any more is ended by the server within seconds."""
    stuck = await database.connect(services.database_url, "cache flush")
    await stuck.execute("BEGIN")
    await stuck.execute("SELECT number FROM epoch FOR SHARE")
    cache = services.cache(**QUICK)
    cache.ready()
    stuck.terminate()
    assert await connection.fetchval("SELECT number FROM epoch") >= 1


async def test_it_outlives_its_database(services: Services, wire: Wire, connection: asyncpg.Connection) -> None:
    services.database_url = wire.url
    cache = services.cache(**QUICK).ready()
    ended = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE application_name LIKE 'polka cache%' AND datname = current_database()"
    )
    assert await connection.fetchval(ended) >= 1
    await commit(connection, transfer(5))
    await until("it posts again", lambda: held(cache.url, "bank1") == (-5, 0))
