"""The api's statements about batches and keys. Each function executes one statement, so all of its changes or none
count."""

import json
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import Any

import asyncpg
import msgspec

from api.http.refusals import Refused
from api.posting import rows
from api.posting.batches import Batch
from api.posting.generations import Generation, Generations
from api.posting.operations import Results
from api.posting.rows import Key, transaction_of
from polka.rules.transactions import Transaction
from polka.store import barrier
from polka.store.database import Connection
from polka.store.database_errors import OUTDATED_KEYS

BATCH = "batch AS (INSERT INTO batches (id, size, payload, policy) VALUES ($1, $2, $3, $5))"
PAYMENTS = f"""
row AS MATERIALIZED ({rows.read_rows(rows.PAYMENT_ROW, "$4")}), rows AS (
    INSERT INTO transactions (batch, {rows.names(rows.STORED)}, booked_version, rounded_down)
    SELECT $1, {rows.names(rows.STORED)},
           CASE WHEN receiver_amount IS NOT NULL OR fee > 0 THEN 1 END,
           CASE WHEN receiver_amount IS NOT NULL THEN true END
    FROM row
)
"""
CHANGES = f"""
change AS MATERIALIZED ({rows.read_rows(rows.CHANGE_ROW, "$8")}), replaced AS (
    INSERT INTO transaction_history ({rows.names(rows.KEPT)}, reversal_batch, replaced_by, reason)
    SELECT {rows.names(rows.KEPT, "t")}, $1, change.by, change.reason
    FROM change JOIN transactions t USING (id, version)
), changed AS (
    UPDATE transactions t
    SET version = t.version + 1, batch = $1, changed_at = now(), {rows.assignments(rows.CHANGED, "change")},
        booked_version = CASE WHEN t.receiver_amount IS NOT NULL OR change.fee > 0 THEN t.version + 1 END
    FROM change WHERE t.id = change.id AND t.version = change.version AND t.status = 'accepted'
    RETURNING 1
)
"""
BULKS = f"bulk AS MATERIALIZED ({rows.read_rows(rows.BULK_ROW, '$9')})"


@cache
def commit_payments(table: str, previous_table: str) -> str:
    """All rows come in one JSON parameter, because encoding one array a column costs the api twice as much.

    The server evaluates the condition before the first insert. A session that waits for the condition's locks holds no
    other lock.
    """
    return f"""
WITH {BATCH}, {PAYMENTS}, keys AS (
    INSERT INTO {table} (caller, key, fingerprint, transaction)
    SELECT caller, key, fingerprint, id FROM row WHERE key IS NOT NULL ORDER BY caller, key
)
SELECT now() WHERE polka_hold($5, $7) AND ($6::bigint IS NULL OR polka_hold_epoch($6)) AND {free("row", previous_table)}
"""


@cache
def commit_all(table: str, previous_table: str) -> str:
    """The same with changes and bulk requests. The statement fails as a whole if a payment was changed meanwhile."""
    return f"""
WITH {BATCH}, {PAYMENTS}, {CHANGES}, {BULKS}, keyed AS MATERIALIZED (
    SELECT caller, key, fingerprint, id, 1 AS version, NULL::json AS items FROM row WHERE key IS NOT NULL
    UNION ALL SELECT caller, key, fingerprint, id, version + 1, NULL FROM change WHERE key IS NOT NULL
    UNION ALL SELECT caller, key, fingerprint, NULL, 1, items FROM bulk
), keys AS (
    INSERT INTO {table} (caller, key, fingerprint, transaction, version, items)
    SELECT caller, key, fingerprint, id, version, items FROM keyed ORDER BY caller, key
)
SELECT now() WHERE polka_hold($5, $7) AND ($6::bigint IS NULL OR polka_hold_epoch($6))
AND {free("keyed", previous_table)} AND polka_must(
    (SELECT count(*) FROM changed) = (SELECT count(*) FROM change), 'a payment is not in the version that was read'
)
"""


def free(keyed: str, previous_table: str) -> str:
    """The condition: no key of these rows is in the previous generation. The table's own index rejects keys of this
    generation."""
    return f"""polka_must(NOT EXISTS (
    SELECT FROM {keyed}, LATERAL (
        SELECT FROM {previous_table} held WHERE held.caller = {keyed}.caller AND held.key = {keyed}.key LIMIT 1
    ) taken
), 'an idempotency key is taken')"""


@cache
def take_free_keys(table: str, previous_table: str) -> str:
    return f"""
WITH keys AS (
    INSERT INTO {table} (caller, key, fingerprint, refusal, items)
    SELECT caller, key, decode(fingerprint, 'hex'), refusal::json, items::json
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
        AS taken (caller, key, fingerprint, refusal, items)
    WHERE NOT EXISTS (
        SELECT FROM {previous_table} held WHERE held.caller = taken.caller AND held.key = taken.key
    )
    ORDER BY caller, key
    ON CONFLICT DO NOTHING
)
SELECT polka_hold(NULL, $6)
"""


ANSWERS = barrier.after("""
SELECT k.caller, k.key, encode(k.fingerprint, 'hex') AS fingerprint, k.refusal, k.items, v.*
FROM unnest($1::text[], $2::text[]) AS asked (caller, key)
JOIN idempotency_keys k USING (caller, key)
LEFT JOIN transaction_versions v ON v.id = k.transaction AND v.version = k.version
ORDER BY k.created_at
""")
"""Reads all generations. A key that was reused after its lifetime has two rows for a moment; the last row counts."""

FIRST_VERSIONS = "SELECT * FROM transaction_versions WHERE id = ANY($1::uuid[]) AND version = 1"

VERSIONS = "SELECT id::text, version FROM transactions WHERE id = ANY($1::uuid[])"


class Answer(msgspec.Struct, frozen=True):
    """The answer to the first request with a key."""

    fingerprint: str
    outcome: Transaction | Results | Refused


async def commit(connection: Connection, batch: Batch, generation: Generation) -> datetime:
    """Record the operations and their batch, all or none, and return the database's time.

    The keys are inserted in sorted order, because two batches with the same keys in different orders would deadlock.
    The keys go into this generation, and must be absent from the previous one.

    Raises:
        asyncpg.UniqueViolationError: a key is taken, or the batch's id is taken by a tombstone, or another session is
            changing one of the payments.
        asyncpg.SerializationError: a key was taken in the previous generation, or another session has changed one of
            the payments since the read.
        asyncpg.PostgresError: the policy, the epoch or the generation has changed (`STALE_POLICY`, `OUTDATED_EPOCH` or
            `OUTDATED_KEYS`).
    """
    values = (batch.id, batch.size, batch.payload.decode(), batch.payments.decode(), batch.policy, batch.epoch)
    tables = (generation.table, generation.previous_table)
    if batch.changes or batch.bulks:
        rest = ((batch.changes or b"[]").decode(), (batch.bulks or b"[]").decode())
        at: datetime = await connection.fetchval(commit_all(*tables), *values, generation.began_at, *rest)
    else:
        at = await connection.fetchval(commit_payments(*tables), *values, generation.began_at)
    return at


async def take_keys(
    connection: Connection, generations: Generations, taken: Iterable[tuple[Key, str, Refused | list[Any]]]
) -> None:
    """Take keys for answers without a batch. Each key comes with its fingerprint and a refusal, or the refusals of all
    items.

    A key with an answer keeps the answer. The statement waits for a commit in flight with one of the keys.
    """
    taken_rows = [
        (*key, fingerprint, encode(answer.stored()), None)
        if isinstance(answer, Refused)
        else (*key, fingerprint, None, encode(answer))
        for key, fingerprint, answer in taken
    ]
    columns = [list(column) for column in zip(*taken_rows, strict=True)]
    while True:
        generation = await generations.present(connection)
        statement = take_free_keys(generation.table, generation.previous_table)
        try:
            await connection.execute(statement, *columns, generation.began_at)
        except asyncpg.PostgresError as error:
            if error.sqlstate != OUTDATED_KEYS:
                raise
            generations.forget()
        else:
            return


async def answers(connection: Connection, keys: Iterable[Key]) -> dict[Key, Answer]:
    """The first answers of these keys, regardless of later changes to the transactions. Keys without an answer are left
    out."""
    asked = list(keys)
    found = await connection.fetch(ANSWERS, [caller for caller, _ in asked], [key for _, key in asked])
    return {
        (row["caller"], row["key"]): Answer(row["fingerprint"], await first_answer(connection, row)) for row in found
    }


async def first_answer(connection: Connection, row: asyncpg.Record) -> Transaction | Results | Refused:
    if row["refusal"] is not None:
        return Refused.of(msgspec.json.decode(row["refusal"]))
    if row["items"] is not None:
        return await results(connection, msgspec.json.decode(row["items"]))
    return transaction_of(row)


async def results(connection: Connection, items: list[Any]) -> Results:
    """The results of a bulk request, from the items in its key's row."""
    found = await connection.fetch(FIRST_VERSIONS, [item for item in items if isinstance(item, str)])
    made = {str(row["id"]): transaction_of(row) for row in found}
    return [made[item] if isinstance(item, str) else Refused.of(item) for item in items]


async def versions(connection: Connection, ids: Iterable[str]) -> dict[str, int]:
    """The newest version of each of these transactions."""
    return dict(await connection.fetch(VERSIONS, list(ids)))


def encode(value: Any) -> str:
    """As JSON. A balance in a refusal may exceed 64 bits, and msgspec rejects larger integers."""
    return json.dumps(value, separators=(",", ":"))
