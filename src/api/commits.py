"""What the api says to the database about batches and keys; each function is one statement, and so all or nothing."""

from collections.abc import Iterable
from datetime import datetime

import asyncpg
import msgspec
from uuid_utils import UUID

from api.refusals import Refusal, Refused
from polka.database import Connection, Pool
from polka.transactions import Party, Transaction

Key = tuple[str, str]
"""Who asked, and the idempotency key that he gave."""

COMMIT = """
WITH batch AS (
    INSERT INTO batches (id, size, payload) VALUES ($1, $2, $3)
), row AS MATERIALIZED (
    SELECT (r->>0)::uuid AS id, r->>1 AS sender_bank, r->>2 AS sender_account, r->>3 AS receiver_bank,
           r->>4 AS receiver_account, (r->>5)::bigint AS amount, r->>6 AS currency, r->>7 AS reference,
           r->>8 AS caller, r->>9 AS key, decode(r->>10, 'hex') AS fingerprint
    FROM jsonb_array_elements($4::jsonb) AS r
), keys AS (
    INSERT INTO idempotency_keys (caller, key, fingerprint, transaction)
    SELECT caller, key, fingerprint, id FROM row WHERE key IS NOT NULL ORDER BY caller, key
), rows AS (
    INSERT INTO transactions (id, batch, sender_bank, sender_account, receiver_bank, receiver_account,
                              amount, currency, reference)
    SELECT id, $1, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency, reference
    FROM row
)
SELECT now()
"""
"""One JSON parameter for all rows: encoding arrays, one a column, costs the api twice as much."""

REFUSE = """
INSERT INTO idempotency_keys (caller, key, fingerprint, refusal) VALUES ($1, $2, decode($3, 'hex'), $4)
ON CONFLICT DO NOTHING
"""

ANSWERS = """
SELECT k.caller, k.key, encode(k.fingerprint, 'hex') AS fingerprint, k.refusal, t.*
FROM unnest($1::text[], $2::text[]) AS asked (caller, key)
JOIN idempotency_keys k USING (caller, key) LEFT JOIN transactions t ON t.id = k.transaction
"""


class Answer(msgspec.Struct, frozen=True):
    """What a key's first request was answered with."""

    fingerprint: str
    outcome: Transaction | Refused


async def commit(connection: Connection, batch: UUID, size: int, payload: bytes, rows: bytes) -> datetime:
    """Record the payments and their batch, all or none, and return the database's time.

    The keys go in sorted: two batches with the same keys in another order would wait for each other.

    Raises:
        asyncpg.UniqueViolationError: a key is taken, or the batch's id is (by a tombstone).
    """
    at: datetime = await connection.fetchval(COMMIT, batch, size, payload.decode(), rows.decode())
    return at


async def refuse(pool: Pool, key: Key, fingerprint: str, refused: Refused) -> None:
    """Take the key for a refusal, unless it has an answer; waits for a commit in flight that holds it."""
    stored = {"refusal": refused.refusal.name, "detail": refused.detail, "field": refused.field}
    await pool.execute(REFUSE, *key, fingerprint, encode(stored).decode())


async def answers(pool: Pool, keys: Iterable[Key]) -> dict[Key, Answer]:
    """The first answer of each of these keys that has one."""
    asked = list(keys)
    rows = await pool.fetch(ANSWERS, [caller for caller, _ in asked], [key for _, key in asked])
    return {(row["caller"], row["key"]): Answer(row["fingerprint"], first_answer(row)) for row in rows}


def first_answer(row: asyncpg.Record) -> Transaction | Refused:
    if row["refusal"] is None:
        return transaction_of(row)
    stored = msgspec.json.decode(row["refusal"])
    return Refused(Refusal[stored["refusal"]], stored["detail"], stored["field"])


def transaction_of(row: asyncpg.Record, posted_at: datetime | None = None) -> Transaction:
    return Transaction(
        id=str(row["id"]),
        status=row["status"],
        sender=Party(row["sender_bank"], row["sender_account"]),
        receiver=Party(row["receiver_bank"], row["receiver_account"]),
        amount=row["amount"],
        currency=row["currency"],
        reference=row["reference"],
        batch=str(row["batch"]),
        created_at=row["created_at"],
        posted_at=posted_at,
    )


encode = msgspec.json.Encoder().encode
