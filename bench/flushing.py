"""The longest answer of the cache while many accounts are flushed: a flush must not hold the event loop for long."""

import asyncio

from bench.clearing import PROBE_SECONDS, probe
from bench.growth import BATCH_SIZE, SESSION
from bench.load import World
from bench.report import Bound, Figure, Findings, Target
from bench.stand import polka, prove
from polka.local.up import Running, Say
from polka.store import database, seed

TITLE = "`POST /balance` while 100,000 accounts are flushed"
TARGET = Target(Bound.AT_MOST, 20, " ms")
POSTED_SECONDS = 120

# Each account has one entry. A bank pays the next bank.
PAYMENTS = """
INSERT INTO transactions (id, batch, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency)
SELECT pg_temp.id_at(now(), $1 || n), pg_temp.id_at(now(), $1 || ' batch ' || n / $4::int),
       'bank' || 1 + 2 * n % $3::int, 'ACC' || 1 + 2 * n / $3::int,
       'bank' || 1 + (2 * n + 1) % $3::int, 'ACC' || 1 + (2 * n + 1) / $3::int, 100, 'USD'
FROM generate_series(0, $2::int - 1) AS n
"""
BATCHES = """
INSERT INTO batches (id, state, size, payload, policy)
SELECT batch, 'unposted', count(*) / 2, json_agg(entry), 0
FROM transactions, LATERAL (VALUES
    (json_build_array(sender_bank, sender_account, currency, -amount)),
    (json_build_array(receiver_bank, receiver_account, currency, amount))
) sides (entry) WHERE created_at = now() GROUP BY batch
"""
UNPOSTED = "SELECT EXISTS (SELECT FROM batches WHERE state = 'unposted')"


async def measure(quick: bool, say: Say) -> Findings:
    rounds, world = (2, World(20, 2_000)) if quick else (9, World(100, 100_000))
    during: list[float] = []
    alone: list[float] = []
    async with polka(say) as running:
        await seed.seed(running.database_url, *world.drawn())
        say(f"{rounds} rounds …")
        for number in range(rounds):
            async with probe(running) as answers:
                await asyncio.sleep(2)
            alone.append(1000 * max(answers))
            async with probe(running) as answers:
                await flush(running, world, number)
            during.append(1000 * max(answers))
        proof = await prove("the database", running, rounds * world.accounts // 2)
    figures = [
        Figure("longest answer to `POST /balance` while nothing is flushed", alone, " ms"),
        Figure("longest answer to `POST /balance` during the flush", during, " ms", TARGET),
    ]
    conditions = (
        f"A cache and its Postgres run with {world}. In each round {world.accounts // 2:,} payments are committed by "
        "SQL, two accounts for each payment, and the cache posts all of them in the next flush. Beside it `POST "
        f"/balance` is asked every {PROBE_SECONDS * 1000:g} ms by a client that waits for the answer. {rounds} rounds."
    )
    return Findings(conditions, figures, [proof])


async def flush(running: Running, world: World, number: int) -> None:
    """Commit a payment for every two accounts, and wait until all of them are posted."""
    async with database.session(running.database_url) as connection:
        await connection.execute(SESSION)
        async with connection.transaction():
            await connection.execute(PAYMENTS, f"round {number} ", world.accounts // 2, world.banks, BATCH_SIZE)
            await connection.execute(BATCHES)
        async with asyncio.timeout(POSTED_SECONDS):
            while await connection.fetchval(UNPOSTED):
                await asyncio.sleep(0.05)
