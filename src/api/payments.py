"""Payments: `POST /transaction`, the hot route, and reading what was recorded."""

import logging
from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import parse_qs
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.types import ASGIApp, Receive, Scope, Send

from api import commits, metrics, problems
from api.banks import KnownBanks
from api.batches import Outcome
from api.commits import Key
from api.posting import DATABASE_AWAY, Posting
from api.problems import BODY_BYTES_MAX, FORMS, TOO_LARGE, RefusedError, refuse
from api.refusals import Refusal, Refused
from polka import database, duration
from polka.database import Pool
from polka.money import is_currency
from polka.transactions import Payment, Transaction, is_account_id

log = logging.getLogger(__name__)

CALLER = "anonymous"
KEY_LENGTH_MAX = 255
TIMEOUT_SECONDS_MAX = 300.0

TRANSACTION = """
SELECT t.*, b.posted_at FROM transactions t JOIN batches b ON b.id = t.batch WHERE t.id = $1
"""
LATEST = """
SELECT t.*, b.posted_at FROM transactions t JOIN batches b ON b.id = t.batch ORDER BY t.id DESC LIMIT 1
"""
BY_KEY = """
SELECT k.refusal, t.*, b.posted_at FROM idempotency_keys k
LEFT JOIN transactions t ON t.id = k.transaction LEFT JOIN batches b ON b.id = t.batch
WHERE k.caller = $1 AND k.key = $2
"""

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
"""Status, headers and body."""


class Payments:
    """What becomes of a `POST /transaction`."""

    def __init__(self, posting: Posting, known_banks: KnownBanks, request_timeout_seconds: float) -> None:
        self._posting = posting
        self._known_banks = known_banks
        self._timeout_seconds = request_timeout_seconds

    async def answer(self, scope: Scope, receive: Receive) -> Answer:
        """The answer to a request that has not been read yet."""
        try:
            outcome = await self._outcome(scope, await read_body(receive))
        except RefusedError as error:
            outcome = error.refused
        except database.ERRORS as error:
            log.warning("the database does not answer: %r", error)
            outcome = DATABASE_AWAY
        except Exception:
            log.exception("a payment failed")
            outcome = problems.FAILED
        if isinstance(outcome, Refused):
            metrics.PAYMENTS.labels(outcome.refusal.value.code).inc()
            return problems.encode(outcome)
        (REPLAYED if outcome.replayed else ACCEPTED).inc()
        body = encode(outcome.transaction)
        headers = [JSON, (b"content-length", b"%d" % len(body))]
        if outcome.replayed:
            headers.append((b"idempotency-replayed", b"true"))
        return 201, headers, body

    async def _outcome(self, scope: Any, body: bytes) -> Outcome:
        key, timeout_seconds = read_head(scope["headers"], scope["query_string"], self._timeout_seconds)
        payment = read_payment(body)
        if no := check(payment):
            return no
        if not self._known_banks.has(payment.sender.bank, payment.receiver.bank) and (
            no := await self._unknown_bank(payment)
        ):
            return await self._posting.refuse(payment, key, no)
        return await self._posting.post(payment, key, timeout_seconds)

    async def _unknown_bank(self, payment: Payment) -> Refused | None:
        for field, party in (("sender.bank", payment.sender), ("receiver.bank", payment.receiver)):
            if not await self._known_banks.exists(party.bank):
                return Refused(Refusal.UNKNOWN_BANK, f"{field}: there is no bank {party.bank}.", field)
        return None


def check(payment: Payment) -> Refused | None:
    """What is wrong with the payment by itself, in the order of precedence."""
    for field, party in (("sender", payment.sender), ("receiver", payment.receiver)):
        if not is_account_id(party.account):
            return Refused(Refusal.INVALID, f"{field}.account: {FORMS['account']}.", f"{field}.account")
    if payment.sender == payment.receiver:
        return Refused(Refusal.SAME_ACCOUNT, "receiver: it is the sender's own account.", "receiver")
    if not is_currency(payment.currency):
        return Refused(Refusal.UNKNOWN_CURRENCY, f"currency: {payment.currency} is not in ISO 4217.", "currency")
    return None


def read_head(headers: Iterable[tuple[bytes, bytes]], query: bytes, timeout_seconds: float) -> tuple[Key | None, float]:
    """The idempotency key and the seconds that the caller waits, from the request's headers and query."""
    key = None
    for name, value in headers:
        if name == b"idempotency-key":
            key = (CALLER, read_key(value))
        elif name == b"request-timeout":
            timeout_seconds = read_timeout(value.decode("latin-1"), "Request-Timeout")
    if query:
        given = parse_qs(query.decode("latin-1"), keep_blank_values=True)
        for parameter, values in given.items():
            if parameter != "timeout":
                refuse(Refusal.INVALID, f"{parameter}: is not a parameter here.", parameter)
            timeout_seconds = read_timeout(values[-1], "timeout")
    return key, timeout_seconds


def read_key(value: bytes) -> str:
    key = value.decode("latin-1")
    if not 0 < len(key) <= KEY_LENGTH_MAX or not (key.isascii() and key.isprintable()):
        refuse(
            Refusal.INVALID,
            f"Idempotency-Key: must be 1 to {KEY_LENGTH_MAX} printable ASCII characters.",
            "Idempotency-Key",
        )
    return key


def read_timeout(text: str, field: str) -> float:
    seconds = duration.seconds(text)
    if seconds is None or not 0 < seconds <= TIMEOUT_SECONDS_MAX:
        refuse(
            Refusal.INVALID,
            f"{field}: must be a duration as 250ms or 1m30s, above 0 and at most {TIMEOUT_SECONDS_MAX:.0f}s.",
            field,
        )
    return seconds


async def read_body(receive: Receive) -> bytes:
    """The whole body, which is mostly one message."""
    body: bytes = b""
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            refuse(Refusal.MALFORMED, "The connection ended before the body did.")
        body = body + message["body"] if body else message["body"]
        if len(body) > BODY_BYTES_MAX:
            raise RefusedError(TOO_LARGE)
        if not message["more_body"]:
            return body


def read_payment(body: bytes) -> Payment:
    try:
        return decode(body)
    except ValueError as error:
        raise RefusedError(problems.explain(error)) from None


decode = msgspec.json.Decoder(Payment).decode
encode = msgspec.json.Encoder().encode
JSON = (b"content-type", b"application/json")
ACCEPTED = metrics.PAYMENTS.labels("accepted")
REPLAYED = metrics.PAYMENTS.labels("replayed")


@post("/transaction")
async def post_transaction(request: Request[Any, Any, Any], payments: NamedDependency[Payments]) -> Response[bytes]:
    """Make a payment: 201 once it is durable."""
    status, headers, body = await payments.answer(request.scope, request.receive)
    return Response(body, status_code=status, headers={name.decode(): value.decode() for name, value in headers})


class FastLane:
    """Answers `POST /transaction` at the door, where Litestar's own way to the same answer costs as much again."""

    def __init__(self, app: ASGIApp, payments: Payments) -> None:
        self._app = app
        self._payments = payments

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/transaction" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["path_template"] = "/transaction"
        status, headers, body = await self._payments.answer(scope, receive)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


@get("/transaction")
async def find_transaction(
    pool: NamedDependency[Pool],
    idempotency_key: Annotated[str | None, QueryParameter(max_length=KEY_LENGTH_MAX)] = None,
) -> Transaction:
    """The latest transaction; with `idempotency_key`, what became of the request that bore it."""
    if idempotency_key is None:
        row = await pool.fetchrow(LATEST)
        if row is None:
            refuse(Refusal.NOT_FOUND, "There is no transaction yet.")
        return commits.transaction_of(row, row["posted_at"])
    row = await pool.fetchrow(BY_KEY, CALLER, idempotency_key)
    if row is None:
        refuse(Refusal.NOT_FOUND, "No request with this idempotency key was recorded.", "idempotency_key")
    match commits.first_answer(row):
        case Refused() as refused:
            raise RefusedError(refused)
        case Transaction() as transaction:
            return msgspec.structs.replace(transaction, posted_at=row["posted_at"])


@get("/transaction/{transaction_id:str}")
async def get_transaction(transaction_id: FromPath[str], pool: NamedDependency[Pool]) -> Transaction:
    """One transaction, with its batch and when that was posted."""
    try:
        row = await pool.fetchrow(TRANSACTION, UUID(transaction_id))
    except ValueError:
        row = None
    if row is None:
        refuse(Refusal.NOT_FOUND, f"There is no transaction {transaction_id}.")
    return commits.transaction_of(row, row["posted_at"])
