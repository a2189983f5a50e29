"""Fills an empty database with payments as if an api had taken them and the cache had posted them, by SQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.load import World
from polka.rules.transactions import POLKA
from polka.store import database, seed
from polka.store.database import Connection

BATCH_SIZE = 64
BATCHES_A_FLUSH = 100
TABLES = ("transactions", "idempotency_keys_1", "batches")

SESSION = """
SET maintenance_work_mem = '512MB';
SET work_mem = '512MB';
CREATE FUNCTION pg_temp.id_at(at timestamptz, salt text) RETURNS uuid LANGUAGE sql AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
            || '7' || substr(md5(salt), 1, 3) || '8' || substr(md5(salt), 4, 15))::uuid
$$;
"""
"""An id of version 7 (RFC 9562): its time, followed by digits from its salt."""

# Three hours of payments until ten minutes ago, so that no batch is too young for a cache to forget.
TRANSACTIONS = """
INSERT INTO transactions (id, batch, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency,
                          created_at)
SELECT pg_temp.id_at(at, n::text), pg_temp.id_at(at, 'batch ' || batch),
       'bank' || sender + 1, 'ACC' || 1 + floor(random() * $3::int)::int,
       'bank' || (sender + step) % $2::int + 1, 'ACC' || 1 + floor(random() * $3::int)::int,
       1 + floor(random() * 1000000)::bigint, 'USD', at
FROM (
    SELECT n, batch, now() - interval '190 minutes' + interval '3 hours' * (batch * $4 / $1::float) AS at,
           floor(random() * $2::int)::int AS sender, 1 + floor(random() * ($2::int - 1))::int AS step
    FROM (SELECT n, n / $4::int AS batch FROM generate_series(0, $1::int - 1) AS n) numbers
) payments
"""
# A new database is in the first generation.
KEYS = """
INSERT INTO idempotency_keys_1 (caller, key, fingerprint, transaction, created_at)
SELECT $1, gen_random_uuid()::text, decode(md5(id::text), 'hex'), id, created_at FROM transactions
"""
BATCHES = """
INSERT INTO batches (id, state, size, payload, flush, created_at, posted_at, window_id)
SELECT batch, 'posted', count(*),
       ('[' || string_agg(format('["%s","%s","USD",%s],["%s","%s","USD",%s]', sender_bank, sender_account, -amount,
                                 receiver_bank, receiver_account, amount), ',') || ']')::json,
       1 + row_number() OVER (ORDER BY batch) / $1::int, min(created_at), min(created_at), 1
FROM transactions GROUP BY batch
"""
ACCOUNTS = """
INSERT INTO accounts AS held (bank, account, currency, balance)
SELECT bank, account, 'USD', sum(amount) FROM (
    SELECT sender_bank AS bank, sender_account AS account, -amount AS amount FROM transactions
    UNION ALL SELECT receiver_bank, receiver_account, amount FROM transactions
) entries GROUP BY bank, account
ON CONFLICT (bank, account, currency) DO UPDATE SET balance = held.balance + excluded.balance
"""
TOTALS = """
INSERT INTO window_totals (window_id, bank, currency, debits, credits, count)
SELECT 1, bank, 'USD', sum(greatest(-amount, 0)), sum(greatest(amount, 0)), count(*) FROM (
    SELECT sender_bank AS bank, -amount AS amount FROM transactions
    UNION ALL SELECT receiver_bank, amount FROM transactions
) entries GROUP BY bank
"""
BALANCES = """
INSERT INTO balances (bank, currency, balance) SELECT bank, currency, sum(balance) FROM accounts GROUP BY bank, currency
"""
FLUSH = "UPDATE flush SET number = (SELECT max(flush) FROM batches), flushed_at = now()"

INDEXES = """
SELECT indexname AS name, indexdef AS definition FROM pg_indexes WHERE tablename = $1
AND indexname NOT IN (SELECT conname FROM pg_constraint WHERE conrelid = $1::regclass)
"""
KEY_CONSTRAINTS = """
SELECT conname AS name, pg_get_constraintdef(oid) AS definition FROM pg_constraint
WHERE conrelid = $1::regclass AND contype IN ('p', 'u')
"""


async def grow(database_url: str, world: World, transactions: int) -> None:
    """Create the world's banks and accounts, and this many posted transactions between the accounts.

    Leaves statistics, hint bits and a finished checkpoint, like a database with a long life.

    Raises:
        Failure: the database is unavailable.
    """
    await seed.seed(database_url, world.banks, world.accounts)
    connection = await database.reach(database_url)
    try:
        await connection.execute(SESSION)
        async with connection.transaction(), rebuilt_indexes(connection):
            await connection.execute(TRANSACTIONS, transactions, world.banks, world.accounts // world.banks, BATCH_SIZE)
            await connection.execute(KEYS, POLKA)
            await connection.execute(BATCHES, BATCHES_A_FLUSH)
            await connection.execute(ACCOUNTS)
            await connection.execute(BALANCES)
            await connection.execute(TOTALS)
            await connection.execute(FLUSH)
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


@asynccontextmanager
async def rebuilt_indexes(connection: Connection) -> AsyncIterator[None]:
    """Fill the tables without their indexes, and rebuild the indexes afterwards: in a tenth of the time."""
    dropped: list[str] = []
    made: list[str] = []
    for table in TABLES:
        for row in await connection.fetch(INDEXES, table):
            dropped.append(f'DROP INDEX "{row["name"]}"')
            made.append(row["definition"])
        for row in await connection.fetch(KEY_CONSTRAINTS, table):
            dropped.append(f'ALTER TABLE {table} DROP CONSTRAINT "{row["name"]}"')
            made.append(f'ALTER TABLE {table} ADD CONSTRAINT "{row["name"]}" {row["definition"]}')
    for statement in dropped:
        await connection.execute(statement)
    yield
    for statement in made:
        await connection.execute(statement)
