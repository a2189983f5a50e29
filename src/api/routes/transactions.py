"""Reads of transactions: a transaction, the latest, the outcome of a request, and all versions of a payment."""

from typing import Annotated, Any
from uuid import UUID

import asyncpg
import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.http.access import Needs
from api.http.problems import RefusedError, refuse
from api.http.refusals import Refusal, Refused
from api.posting.operations import Key
from api.posting.posting import Posting
from api.posting.rows import transaction_of
from api.routes import answers
from api.routes.answers import as_json
from api.routes.described import CHANGES, PAYS_ACROSS, described
from api.routes.payments import Payments
from api.routes.requests import PaymentId
from polka.rules.headers import KEY_LENGTH_MAX
from polka.rules.keys import Caller, Scope
from polka.rules.payments import BulkResult, History
from polka.rules.transactions import OldVersion, Transaction
from polka.store.database import Pool

TRANSACTION = """
SELECT t.*, b.posted_at, b.window_id FROM transactions t JOIN batches b ON b.id = t.batch
WHERE t.id = $1 AND ($2::text IS NULL OR $2 IN (t.sender_bank, t.receiver_bank))
"""
LATEST = """
SELECT t.*, b.posted_at, b.window_id FROM transactions t JOIN batches b ON b.id = t.batch ORDER BY t.id DESC LIMIT 1
"""
LATEST_OF_BANK = """
SELECT t.*, b.posted_at, b.window_id FROM (
    (SELECT * FROM transactions WHERE sender_bank = $1 ORDER BY id DESC LIMIT 1)
    UNION ALL
    (SELECT * FROM transactions WHERE receiver_bank = $1 ORDER BY id DESC LIMIT 1)
) t JOIN batches b ON b.id = t.batch ORDER BY t.id DESC LIMIT 1
"""
VERSIONS = """
SELECT v.*, b.posted_at, b.window_id FROM transaction_versions v JOIN batches b ON b.id = v.batch
WHERE v.id = $1 AND ($2::text IS NULL OR $2 IN (v.sender_bank, v.receiver_bank)) AND EXISTS (
    SELECT FROM transactions t WHERE t.id = $1 AND ($2::text IS NULL OR $2 IN (t.sender_bank, t.receiver_bank))
) ORDER BY version DESC
"""
POSTED = "SELECT posted_at, window_id FROM batches WHERE id = $1::uuid"


@get(
    "/transaction",
    tags=["Payments"],
    guards=[Needs(Scope.TRANSACTIONS_READ)],
    opt=described(Refusal.NOT_FOUND, *PAYS_ACROSS, *CHANGES, Refusal.ITEMS_REFUSED),
)
async def find_transaction(
    caller: NamedDependency[Caller],
    pool: NamedDependency[Pool],
    payments: NamedDependency[Payments],
    idempotency_key: Annotated[str | None, QueryParameter(max_length=KEY_LENGTH_MAX)] = None,
) -> Response[Transaction | BulkResult]:
    """The latest transaction, or the outcome of the caller's request with this `idempotency_key`."""
    if idempotency_key is not None:
        return await find_answer(payments.posting, pool, (caller.name, idempotency_key), caller)
    row = await (pool.fetchrow(LATEST_OF_BANK, caller.bank) if caller.bank else pool.fetchrow(LATEST))
    if row is None:
        refuse(Refusal.NOT_FOUND, "There is no transaction yet.")
    return with_etag(transaction_of(row))


async def find_answer(posting: Posting, pool: Pool, key: Key, caller: Caller) -> Response[Any]:
    """The first answer of the key, with the current posting of its batch."""
    known = await posting.answer_of(key)
    if known is None:
        refuse(Refusal.NOT_FOUND, "No request with this idempotency key was recorded.", "idempotency_key")
    match known.outcome:
        case Refused() as refused:
            raise RefusedError(refused)
        case Transaction() as transaction:
            posted_at, window = await pool.fetchrow(POSTED, transaction.batch)
            return with_etag(msgspec.structs.replace(transaction, posted_at=posted_at, window=window))
        case results:
            return as_json(answers.bulk_result(results, caller))


@get("/transaction/{transaction_id:str}", tags=["Payments"], guards=[Needs(Scope.TRANSACTIONS_READ)])
async def get_transaction(
    transaction_id: PaymentId, caller: NamedDependency[Caller], pool: NamedDependency[Pool]
) -> Response[Transaction]:
    """A transaction in its newest version, with its batch, the time of its posting, and its clearing window."""
    return await one_transaction(transaction_id, caller, pool)


@get("/transactions/{transaction_id:str}", tags=["Payments"], guards=[Needs(Scope.TRANSACTIONS_READ)])
async def get_one_of_transactions(
    transaction_id: PaymentId, caller: NamedDependency[Caller], pool: NamedDependency[Pool]
) -> Response[Transaction]:
    """The same under the name of all transactions."""
    return await one_transaction(transaction_id, caller, pool)


@get("/transaction/{transaction_id:str}/history", tags=["Payments"], guards=[Needs(Scope.TRANSACTIONS_READ)])
async def get_history(
    transaction_id: PaymentId, caller: NamedDependency[Caller], pool: NamedDependency[Pool]
) -> History:
    """All versions of a payment, with the author, time and reason of each replacement. A bank sees its own versions."""
    found = read_id(transaction_id)
    rows = await pool.fetch(VERSIONS, found, caller.bank) if found else []
    if not rows:
        raise RefusedError(no_transaction(transaction_id))
    return History(transaction_of(rows[0]), [old_version_of(row) for row in rows[1:]])


async def one_transaction(transaction_id: str, caller: Caller, pool: Pool) -> Response[Any]:
    if (transaction := await read_transaction(pool, transaction_id, caller)) is None:
        raise RefusedError(no_transaction(transaction_id))
    return with_etag(transaction)


async def read_transaction(pool: Pool, transaction_id: str, caller: Caller) -> Transaction | None:
    """The newest version, if the caller may see the transaction."""
    found = read_id(transaction_id)
    row = await pool.fetchrow(TRANSACTION, found, caller.bank) if found else None
    return transaction_of(row) if row else None


def no_transaction(transaction_id: str) -> Refused:
    return Refused(Refusal.NOT_FOUND, f"There is no transaction {transaction_id}.")


def read_id(transaction_id: str) -> UUID | None:
    try:
        return UUID(transaction_id)
    except ValueError:
        return None


def old_version_of(row: asyncpg.Record) -> OldVersion:
    return OldVersion(
        transaction_of(row), str(row["reversal_batch"]), row["replaced_at"], row["replaced_by"], row["reason"]
    )


def with_etag(transaction: Transaction) -> Response[Any]:
    return as_json(transaction, {"ETag": answers.etag(transaction)})
