"""Many payments in one request: `POST /transactions`, all or nothing, or each by itself."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency

from api.http import problems
from api.http.access import Needs, caller_of
from api.http.limits import Limits
from api.http.problems import RefusedError
from api.http.refusals import Refusal, Refused
from api.posting.batches import Outcome
from api.posting.operations import Bulk, Pay, fingerprint_of, items_refused
from api.routes.answers import as_response, certain, count, encode
from api.routes.described import CAPPED, described
from api.routes.payments import Payments, check
from api.routes.requests import OWN_HEAD, Head, read_body, read_head
from api.routes.turns import Turns
from polka.edge import bounds
from polka.rules.keys import Caller, Scope
from polka.rules.payments import BulkResult
from polka.rules.transactions import Payment

PATH = "/transactions"
ITEMS_MAX = 1_000
BODY_BYTES_MAX = bounds.body_bytes_max(PATH)
PIECE = 100
"""Payments checked in one turn of the event loop."""
PARAMETERS = ("mode",)
MODES = ("atomic", "each")
MESSAGE_PACK = ("application/msgpack", "application/vnd.msgpack", "application/x-msgpack")


@post(
    PATH,
    tags=["Payments"],
    guards=[Needs(Scope.TRANSACTIONS_WRITE)],
    opt=OWN_HEAD
    | described(
        *(Refusal.KEY_REUSED, Refusal.ITEMS_REFUSED, Refusal.RATES_STALE, *CAPPED),
        body=list[Payment],
        parameters=["Idempotency-Key", *PARAMETERS],
        also={207: BulkResult},
        message_pack=True,
    ),
)
async def post_transactions(
    request: Request[Any, Any, Any],
    payments: NamedDependency[Payments],
    limits: NamedDependency[Limits],
    turns: NamedDependency[Turns],
) -> Response[BulkResult]:
    """Make up to 1,000 payments: with `mode=atomic` all or none, with `mode=each` all payments without a refusal.

    Accepted payments are committed together. The status is 201 if all are accepted. Otherwise `mode=each` answers 207
    with a result for each payment.
    """
    outcome = await certain(pay_many(request, payments, limits, turns))
    count("bulk", outcome)
    return as_response(encode(outcome, 201, caller_of(request)))


async def pay_many(request: Request[Any, Any, Any], payments: Payments, limits: Limits, turns: Turns) -> Outcome:
    head = read_head(request.scope, payments.request_timeout_seconds, PARAMETERS)
    mode = head.parameters.get("mode", MODES[0])
    if mode not in MODES:
        problems.refuse(Refusal.INVALID, f"mode: must be {' or '.join(MODES)}.", "mode")
    async with turns.place(head):
        body = await read_body(head, request.receive, BODY_BYTES_MAX)
        return await pay_all(body, mode, head, payments, limits, turns)


async def pay_all(body: bytes, mode: str, head: Head, payments: Payments, limits: Limits, turns: Turns) -> Outcome:
    async with turns.turn(head):
        items = read_items(body, MESSAGE_PACK_FORM if head.content_type in MESSAGE_PACK else JSON_FORM)
        if no := limits.take(head.caller.share, len(items) - 1, time.monotonic_ns()):  # the request itself counted as 1
            return no
        await asyncio.sleep(0)  # others go on
        fingerprint = fingerprint_of(mode, [item.stored() if isinstance(item, Refused) else item for item in items])
    if head.key and (known := await head.in_time(payments.posting.known(head.key, fingerprint))):
        return known
    await head.in_time(payments.meet_banks(item for item in items if isinstance(item, Payment)))
    if payments.exchange.is_outdated and any(isinstance(item, Payment) and item.crosses for item in items):
        await head.in_time(payments.exchange.refresh())
    async with turns.turn(head):
        checked = await check_items(payments, head.caller, items)
    refused = [item for item in checked if isinstance(item, Refused)]
    is_atomic = mode == "atomic"
    if refused and is_atomic:
        if passing := next((item for item in refused if item.refusal.value.status == 503), None):
            return passing  # the same request may succeed later: its key stays free
        return await payments.posting.refuse(fingerprint, head.key, items_refused(checked), head.seconds_left)
    operation = Bulk(checked, fingerprint, is_atomic, head.caller.name)
    return await payments.posting.post(operation, head.key, head.seconds_left)


async def check_items(payments: Payments, caller: Caller, items: Sequence[Payment | Refused]) -> list[Pay | Refused]:
    """The operation or refusal of each item. Other requests go on between pieces of the items."""
    checked: list[Pay | Refused] = []
    for start in range(0, len(items), PIECE):
        piece = items[start : start + PIECE]
        checked += [item if isinstance(item, Refused) else check_item(payments, caller, item) for item in piece]
        await asyncio.sleep(0)
    return checked


def check_item(payments: Payments, caller: Caller, payment: Payment) -> Pay | Refused:
    if no := check(payment, caller):
        return no
    converted = payments.exchange.convert(payment)
    if isinstance(converted, Refused):
        return converted
    return payments.stranger(payment) or Pay(payment, converted)


class Form(msgspec.Struct, frozen=True):
    """Decoders of a body: all payments at once, unread items, and an item."""

    name: str
    all: Callable[[bytes], list[Payment]]
    raw: Callable[[bytes], list[msgspec.Raw]]
    one: Callable[[msgspec.Raw], Payment]


JSON_FORM = Form(
    "JSON",
    msgspec.json.Decoder(list[Payment]).decode,
    msgspec.json.Decoder(list[msgspec.Raw]).decode,
    msgspec.json.Decoder(Payment).decode,
)
MESSAGE_PACK_FORM = Form(
    "MessagePack",
    msgspec.msgpack.Decoder(list[Payment]).decode,
    msgspec.msgpack.Decoder(list[msgspec.Raw]).decode,
    msgspec.msgpack.Decoder(Payment).decode,
)


def read_items(body: bytes, form: Form) -> list[Payment | Refused]:
    """The body's payments. An invalid item gets its own refusal.

    Raises:
        RefusedError: the body is no list, or has too many items, or no items.
    """
    items: list[Payment | Refused]
    try:
        items = [*form.all(body)]
    except msgspec.ValidationError:
        items = [read_item(item, form) for item in problems.read(form.raw, body, form.name)]
    except problems.UNREADABLE as error:
        raise RefusedError(problems.explain(error, form.name)) from None
    if not 0 < len(items) <= ITEMS_MAX:
        problems.refuse(Refusal.INVALID, f"body: must have 1 to {ITEMS_MAX:,} payments, not {len(items):,}.")
    return items


def read_item(item: msgspec.Raw, form: Form) -> Payment | Refused:
    try:
        return form.one(item)
    except problems.UNREADABLE as error:
        return problems.explain(error, form.name)
