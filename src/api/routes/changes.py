"""Changing a payment: DELETE reverses it, PATCH amends its sides. History is never rewritten."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar import Request, Response, delete, patch
from litestar.di import NamedDependency
from msgspec import UNSET

from api.http import problems
from api.http.access import Needs, caller_of
from api.http.problems import RefusedError
from api.http.refusals import Refusal, Refused
from api.posting.batches import Outcome
from api.posting.operations import Change, fingerprint_of
from api.routes.answers import as_response, certain, count, encode
from api.routes.described import CHANGES, PAYS, described
from api.routes.payments import Payments, check
from api.routes.requests import OWN_HEAD, Head, PaymentId, read_body, read_head
from api.routes.transactions import no_transaction, read_transaction
from polka.rules.keys import Scope
from polka.rules.transactions import Amendment, Reference, Transaction, amended, is_account_id
from polka.store.database import Pool

PARAMETERS = ("reason",)
FIXED = ("amount", "currency", "receiver_currency")
"""Parts that no amendment changes, because the result would be another payment."""


@delete(
    "/transaction/{transaction_id:str}",
    status_code=200,
    tags=["Payments"],
    guards=[Needs(Scope.TRANSACTIONS_WRITE)],
    opt=OWN_HEAD | described(*CHANGES, parameters=["Idempotency-Key", "If-Match", *PARAMETERS]),
)
async def delete_transaction(
    request: Request[Any, Any, Any],
    transaction_id: PaymentId,
    payments: NamedDependency[Payments],
    pool: NamedDependency[Pool],
) -> Response[Transaction]:
    """Reverse a payment: its entries are undone, and its status is `deleted` from then on."""

    async def work() -> Outcome:
        head = head_of(request, payments)
        return await change(payments, pool, head, transaction_id, ("DELETE", transaction_id), deleted)

    outcome = await certain(work())
    count("deletion", outcome)
    return as_response(encode(outcome, 200, caller_of(request)))


@patch(
    "/transaction/{transaction_id:str}",
    tags=["Payments"],
    guards=[Needs(Scope.TRANSACTIONS_WRITE)],
    opt=OWN_HEAD | described(*CHANGES, *PAYS, body=Amendment, parameters=["Idempotency-Key", "If-Match", *PARAMETERS]),
)
async def amend_transaction(
    request: Request[Any, Any, Any],
    transaction_id: PaymentId,
    payments: NamedDependency[Payments],
    pool: NamedDependency[Pool],
) -> Response[Transaction]:
    """Amend bank or account of a side, or the reference: the old entries are reversed, the new ones posted."""

    async def work() -> Outcome:
        head = head_of(request, payments)
        amendment = read_amendment(await read_body(head, request.receive))

        async def amend(transaction: Transaction) -> Transaction | Refused:
            new = amended(transaction, amendment)
            return check(new, head.caller) or await payments.unknown_bank(new) or new

        return await change(payments, pool, head, transaction_id, ("PATCH", transaction_id, amendment), amend)

    outcome = await certain(work())
    count("amendment", outcome)
    return as_response(encode(outcome, 200, caller_of(request)))


async def change(
    payments: Payments,
    pool: Pool,
    head: Head,
    transaction_id: str,
    request: tuple[Any, ...],
    make: Callable[[Transaction], Awaitable[Transaction | Refused]],
) -> Outcome:
    """Replace the newest version of the payment, if no other change comes first."""
    reason = read_reason(head)
    fingerprint = fingerprint_of(*request, reason)
    old = await head.in_time(read_transaction(pool, transaction_id, head.caller))
    if old is None:
        return await payments.posting.refuse(fingerprint, head.key, no_transaction(transaction_id), head.seconds_left)
    new: Transaction | Refused | None = refused_change(old, head)
    if new is None:
        new = await head.in_time(make(old))
    if isinstance(new, Refused):
        return await payments.posting.refuse(fingerprint, head.key, new, head.seconds_left)
    operation = Change(old, new, fingerprint, head.caller.name, reason)
    return await payments.posting.post(operation, head.key, head.seconds_left)


def refused_change(transaction: Transaction, head: Head) -> Refused | None:
    if not head.caller.acts_for(transaction.sender.bank):
        return Refused(Refusal.FORBIDDEN, f"The key changes only what {head.caller.bank} sent.")
    if transaction.status == "deleted":
        return Refused(Refusal.DELETED, f"Payment {transaction.id} was deleted at {transaction.changed_at}.")
    if head.if_match is not None and head.if_match != transaction.version:
        return Refused(Refusal.STALE_VERSION, f"The payment is in version {transaction.version}.", "If-Match")
    return None


async def deleted(transaction: Transaction) -> Transaction:
    return msgspec.structs.replace(transaction, status="deleted")


def head_of(request: Request[Any, Any, Any], payments: Payments) -> Head:
    return read_head(request.scope, payments.request_timeout_seconds, PARAMETERS)


def read_amendment(body: bytes) -> Amendment:
    try:
        amendment = decode(body)
    except problems.UNREADABLE as error:
        refused = problems.explain(error)
        if refused.field in FIXED:
            detail = f"{refused.field}: cannot be amended; delete the payment, and send another."
            refused = Refused(Refusal.INVALID, detail, refused.field)
        raise RefusedError(refused) from None
    if amendment == Amendment():
        problems.refuse(Refusal.INVALID, "The body changes nothing.")
    for field, party in (("sender", amendment.sender), ("receiver", amendment.receiver)):
        if party is not UNSET and party.account is not UNSET and not is_account_id(party.account):
            problems.refuse(Refusal.INVALID, f"{field}.account: {problems.FORMS['account']}.", f"{field}.account")
    return amendment


def read_reason(head: Head) -> str | None:
    """The reason in the client's words, stored with the replaced version."""
    if "reason" not in head.parameters:
        return None
    try:
        return msgspec.convert(head.parameters["reason"], Reference)
    except msgspec.ValidationError:
        problems.refuse(Refusal.INVALID, f"reason: {problems.FORMS['reference']}.", "reason")


decode = msgspec.json.Decoder(Amendment).decode
