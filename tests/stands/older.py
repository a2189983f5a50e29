"""An older Polka on a newer schema: the statements of revision 0016 for taking and finding idempotency keys."""

from typing import Any
from uuid import UUID

import asyncpg

from api.posting.batches import Batch, Pending
from api.posting.commits import BATCH, PAYMENTS
from api.posting.operations import Key, Pay
from polka.rules.policy import Policy

COMMIT = f"""
WITH {BATCH}, {PAYMENTS}, keys AS (
    INSERT INTO idempotency_keys (caller, key, fingerprint, transaction)
    SELECT caller, key, fingerprint, id FROM row WHERE key IS NOT NULL ORDER BY caller, key
)
SELECT now() WHERE polka_hold_policy($5) AND ($6::bigint IS NULL OR polka_hold_epoch($6))
"""
TAKE_KEYS = """
INSERT INTO idempotency_keys (caller, key, fingerprint, refusal, items)
SELECT caller, key, decode(fingerprint, 'hex'), refusal::json, items::json
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
    AS taken (caller, key, fingerprint, refusal, items)
ORDER BY caller, key
ON CONFLICT DO NOTHING
"""
ANSWERS = """
SELECT k.caller, k.key, encode(k.fingerprint, 'hex') AS fingerprint, k.refusal, k.items, v.id
FROM unnest($1::text[], $2::text[]) AS asked (caller, key)
JOIN idempotency_keys k USING (caller, key)
LEFT JOIN transaction_versions v ON v.id = k.transaction AND v.version = k.version
"""
PRUNE = """
DELETE FROM idempotency_keys WHERE (caller, key) IN (
    SELECT caller, key FROM idempotency_keys WHERE created_at < now() - make_interval(secs => $1)
    ORDER BY created_at LIMIT $2
)
"""


async def pay(connection: asyncpg.Connection, operation: Pay, *keys: Key) -> None:
    """Commit the payment under each of these keys, as one batch.

    Raises:
        asyncpg.UniqueViolationError: a key is taken.
    """
    pending = [Pending(operation, key, operation.fingerprint, Pay(operation.payment), Policy(0)) for key in keys]
    batch = Batch(pending)
    values = (batch.id, batch.size, batch.payload.decode(), batch.payments.decode(), 0, None)
    await connection.fetchval(COMMIT, *values)


async def refuse(
    connection: asyncpg.Connection, operation: Pay, key: Key, refusal: str | None, items: str | None = None
) -> None:
    await connection.execute(TAKE_KEYS, [key[0]], [key[1]], [operation.fingerprint], [refusal], [items])


async def answer(connection: asyncpg.Connection, key: Key) -> asyncpg.Record | None:
    rows: list[asyncpg.Record] = await connection.fetch(ANSWERS, [key[0]], [key[1]])
    return rows[-1] if rows else None


async def paid(connection: asyncpg.Connection, key: Key) -> UUID | None:
    """The id of the payment under this key."""
    found: Any = await answer(connection, key)
    return found["id"] if found else None
