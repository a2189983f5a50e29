"""Batches in an api's form, written by the test itself. The test decides when the cache gets a report of which
batch."""

import json
from typing import Any
from uuid import UUID

import asyncpg
import uuid_utils

from services import cache_client

Entries = list[tuple[str, str, str, int]]


def new_id() -> UUID:
    return UUID(str(uuid_utils.uuid7()))


def transfer(amount: int = 100, sender: str = "bank1", receiver: str = "bank2", currency: str = "USD") -> Entries:
    return [(sender, "A1", currency, -amount), (receiver, "B1", currency, amount)]


async def commit(connection: asyncpg.Connection, entries: Entries, batch: UUID | None = None) -> UUID:
    """Commit a payment as a batch, and return the batch's id."""
    batch = batch or new_id()
    (sender, sender_account, currency, amount), (receiver, receiver_account, _, _) = entries
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO batches (id, size, payload) VALUES ($1, 1, $2)", batch, json.dumps(entries)
        )
        await connection.execute(
            "INSERT INTO transactions (id, batch, sender_bank, sender_account, receiver_bank, receiver_account, "
            "amount, currency) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            *(new_id(), batch, sender, sender_account, receiver, receiver_account, -amount, currency),
        )
    return batch


def tell(cache_url: str, batch: UUID, entries: Entries, replaces: list[UUID] | None = None) -> dict[str, Any]:
    """POST /balance in an api's form. Returns the cache's answer."""
    told = [{"batch": str(batch), "entries": entries, "replaces": [str(old) for old in replaces or []]}]
    response = cache_client.post(f"{cache_url}/balance", json=told)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def held(cache_url: str, bank: str, currency: str = "USD") -> tuple[int, int]:
    """The bank's posted and pending sums in the cache."""
    for position in cache_client.get(f"{cache_url}/balance/{bank}").raise_for_status().json()["balances"]:
        if position["currency"] == currency:
            return position["posted"], position["pending"]
    return 0, 0


def account_held(cache_url: str, bank: str, account: str) -> tuple[int, int]:
    page = (
        cache_client.get(f"{cache_url}/balance/{bank}/accounts", params={"account": account}).raise_for_status().json()
    )
    for found in page["accounts"]:
        return found["balances"][0]["posted"], found["balances"][0]["pending"]
    return 0, 0


CHANGE = """
WITH replaced AS (
    INSERT INTO transaction_history (
        id, version, batch, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency, reference,
        status, created_at, changed_at, reversal_batch, replaced_by, reason)
    SELECT id, version, batch, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency,
           reference, status, created_at, changed_at, gen_random_uuid(), 'me', NULL
    FROM transactions WHERE id = '{id}'
)
UPDATE transactions SET version = version + 1, batch = gen_random_uuid(), status = 'deleted', changed_at = now()
WHERE id = '{id}'
"""


async def state(connection: asyncpg.Connection, batch: UUID) -> str | None:
    value: str | None = await connection.fetchval("SELECT state FROM batches WHERE id = $1", batch)
    return value
