"""What the api says to the database about batches and keys; each function is one statement, and so all or nothing."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from api.batches import Batch
from api.operations import Key, Results
from api.refusals import Refused
from polka.database import Connection, Pool
from polka.rates import Converted
from polka.transactions import Party, Transaction, across

BATCH = "batch AS (INSERT INTO batches (id, size, payload, policy) VALUES ($1, $2, $3, $5))"
PAYMENTS = """
row AS MATERIALIZED (
    SELECT (r->>0)::uuid AS id, r->>1 AS sender_bank, r->>2 AS sender_account, r->>3 AS receiver_bank,
           r->>4 AS receiver_account, (r->>5)::bigint AS amount, r->>6 AS currency, r->>7 AS reference,
           r->>8 AS caller, r->>9 AS key, decode(r->>10, 'hex') AS fingerprint, (r->>11)::bigint AS receiver_amount,
           r->>12 AS receiver_currency, (r->>13)::numeric AS rate, (r->>14)::date AS rate_date,
           (r->>15)::int AS rate_version, (r->>16)::bigint AS fee
    FROM jsonb_array_elements($4::jsonb) AS r
), rows AS (
    INSERT INTO transactions (id, batch, sender_bank, sender_account, receiver_bank, receiver_account,
                              amount, currency, reference, receiver_amount, receiver_currency, rate, rate_date,
                              rate_version, fee, booked_version)
    SELECT id, $1, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency, reference,
           receiver_amount, receiver_currency, rate, rate_date, rate_version, fee,
           CASE WHEN receiver_amount IS NOT NULL OR fee > 0 THEN 1 END
    FROM row
)
"""
CHANGES = """
change AS MATERIALIZED (
    SELECT (r->>0)::uuid AS id, (r->>1)::int AS version, r->>2 AS status, r->>3 AS sender_bank,
           r->>4 AS sender_account, r->>5 AS receiver_bank, r->>6 AS receiver_account, r->>7 AS reference,
           r->>8 AS by, r->>9 AS reason, r->>10 AS caller, r->>11 AS key, decode(r->>12, 'hex') AS fingerprint,
           (r->>13)::bigint AS fee
    FROM jsonb_array_elements($6::jsonb) AS r
), replaced AS (
    INSERT INTO transaction_history (
        id, version, batch, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency, reference,
        status, created_at, changed_at, receiver_amount, receiver_currency, rate, rate_date, rate_version,
        fee, reversal_batch, replaced_by, reason)
    SELECT t.id, t.version, t.batch, t.sender_bank, t.sender_account, t.receiver_bank, t.receiver_account, t.amount,
           t.currency, t.reference, t.status, t.created_at, t.changed_at, t.receiver_amount, t.receiver_currency,
           t.rate, t.rate_date, t.rate_version, t.fee, $1, change.by, change.reason
    FROM change JOIN transactions t USING (id, version)
), changed AS (
    UPDATE transactions t
    SET version = t.version + 1, batch = $1, status = change.status, sender_bank = change.sender_bank,
        sender_account = change.sender_account, receiver_bank = change.receiver_bank,
        receiver_account = change.receiver_account, reference = change.reference, changed_at = now(),
        fee = change.fee,
        booked_version = CASE WHEN t.receiver_amount IS NOT NULL OR change.fee > 0 THEN t.version + 1 END
    FROM change WHERE t.id = change.id AND t.version = change.version AND t.status = 'accepted'
    RETURNING 1
)
"""
BULKS = """
bulk AS MATERIALIZED (
    SELECT r->>0 AS caller, r->>1 AS key, decode(r->>2, 'hex') AS fingerprint, (r->3)::json AS items
    FROM jsonb_array_elements($7::jsonb) AS r
)
"""
COMMIT_PAYMENTS = f"""
WITH {BATCH}, {PAYMENTS}, keys AS (
    INSERT INTO idempotency_keys (caller, key, fingerprint, transaction)
    SELECT caller, key, fingerprint, id FROM row WHERE key IS NOT NULL ORDER BY caller, key
)
SELECT now() WHERE polka_hold_policy($5)
"""
"""One JSON parameter for all rows: encoding arrays, one a column, costs the api twice as much.

The server evaluates the condition before it inserts anything: whoever waits for the policy's lock holds no other.
"""

COMMIT_ALL = f"""
WITH {BATCH}, {PAYMENTS}, {CHANGES}, {BULKS}, keys AS (
    INSERT INTO idempotency_keys (caller, key, fingerprint, transaction, version, items)
    SELECT caller, key, fingerprint, id, 1, NULL::json FROM row WHERE key IS NOT NULL
    UNION ALL SELECT caller, key, fingerprint, id, version + 1, NULL FROM change WHERE key IS NOT NULL
    UNION ALL SELECT caller, key, fingerprint, NULL, 1, items FROM bulk
    ORDER BY caller, key
)
SELECT now() WHERE polka_hold_policy($5) AND polka_must(
    (SELECT count(*) FROM changed) = (SELECT count(*) FROM change), 'a payment is not in the version that was read'
)
"""
"""The same with changes and bulk requests; it fails as a whole if a payment was changed by somebody else meanwhile."""

TAKE_KEY = """
INSERT INTO idempotency_keys (caller, key, fingerprint, refusal, items) VALUES ($1, $2, decode($3, 'hex'), $4, $5)
ON CONFLICT DO NOTHING
"""

ANSWERS = """
SELECT k.caller, k.key, encode(k.fingerprint, 'hex') AS fingerprint, k.refusal, k.items, v.*
FROM unnest($1::text[], $2::text[]) AS asked (caller, key)
JOIN idempotency_keys k USING (caller, key)
LEFT JOIN transaction_versions v ON v.id = k.transaction AND v.version = k.version
"""

FIRST_VERSIONS = "SELECT * FROM transaction_versions WHERE id = ANY($1::uuid[]) AND version = 1"

VERSIONS = "SELECT id::text, version FROM transactions WHERE id = ANY($1::uuid[])"


class Answer(msgspec.Struct, frozen=True):
    """What a key's first request was answered with."""

    fingerprint: str
    outcome: Transaction | Results | Refused


async def commit(connection: Connection, batch: Batch) -> datetime:
    """Record the operations and their batch, all or none, and return the database's time.

    The keys go in sorted: two batches with the same keys in another order would wait for each other.

    Raises:
        asyncpg.UniqueViolationError: a key is taken, or the batch's id is (by a tombstone), or somebody else is
            changing one of the payments.
        asyncpg.SerializationError: somebody else has changed one of the payments since it was read.
        asyncpg.PostgresError: the policy is another by now (`bank_terms.is_stale`).
    """
    values = (batch.id, batch.size, batch.payload.decode(), batch.payments.decode(), batch.policy)
    if batch.changes or batch.bulks:
        rest = ((batch.changes or b"[]").decode(), (batch.bulks or b"[]").decode())
        at: datetime = await connection.fetchval(COMMIT_ALL, *values, *rest)
    else:
        at = await connection.fetchval(COMMIT_PAYMENTS, *values)
    return at


async def take_key(pool: Pool, key: Key, fingerprint: str, answer: Refused | list[Any]) -> None:
    """Take the key for an answer that no batch goes with: a refusal, or items that were all refused.

    A key that has an answer keeps it. Waits for a commit in flight that holds the key.
    """
    refusal = encode(answer.stored()).decode() if isinstance(answer, Refused) else None
    items = None if isinstance(answer, Refused) else encode(answer).decode()
    await pool.execute(TAKE_KEY, *key, fingerprint, refusal, items)


async def answers(pool: Pool, keys: Iterable[Key]) -> dict[Key, Answer]:
    """The first answer of each of these keys that has one, whatever became of its transactions since."""
    asked = list(keys)
    rows = await pool.fetch(ANSWERS, [caller for caller, _ in asked], [key for _, key in asked])
    return {(row["caller"], row["key"]): Answer(row["fingerprint"], await first_answer(pool, row)) for row in rows}


async def first_answer(pool: Pool, row: asyncpg.Record) -> Transaction | Results | Refused:
    if row["refusal"] is not None:
        return Refused.of(msgspec.json.decode(row["refusal"]))
    if row["items"] is not None:
        return await results(pool, msgspec.json.decode(row["items"]))
    return transaction_of(row)


async def results(pool: Pool, items: list[Any]) -> Results:
    """The results of a bulk request, from what its key's row keeps of them."""
    rows = await pool.fetch(FIRST_VERSIONS, [item for item in items if isinstance(item, str)])
    made = {str(row["id"]): transaction_of(row) for row in rows}
    return [made[item] if isinstance(item, str) else Refused.of(item) for item in items]


async def versions(pool: Pool, ids: Iterable[str]) -> dict[str, int]:
    """The newest version of each of these transactions."""
    return dict(await pool.fetch(VERSIONS, list(ids)))


def transaction_of(row: asyncpg.Record) -> Transaction:
    """From a row of `transactions`, or of their versions; with its batch's posting, if that was read too."""
    made = Transaction(
        id=str(row["id"]),
        version=row["version"],
        status=row["status"],
        sender=Party(row["sender_bank"], row["sender_account"]),
        receiver=Party(row["receiver_bank"], row["receiver_account"]),
        amount=row["amount"],
        currency=row["currency"],
        reference=row["reference"],
        batch=str(row["batch"]),
        created_at=row["created_at"],
        changed_at=row["changed_at"],
        posted_at=row.get("posted_at"),
        window=row.get("window_id"),
    )
    if row["fee"] is not None:
        made = msgspec.structs.replace(made, fee=row["fee"])
    if row["receiver_amount"] is None:
        return made
    rate = f"{row['rate']:f}"
    received = Converted(row["receiver_amount"], row["receiver_currency"], rate, row["rate_date"], row["rate_version"])
    return across(made, received)


encode = msgspec.json.Encoder().encode
