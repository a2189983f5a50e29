"""Payments: `POST /transaction`, the hot route, and the checks of all payments."""

from collections.abc import Iterable
from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.types import ASGIApp, Receive, Send

from api.http import problems
from api.http.access import Needs, lacking
from api.http.problems import FORMS
from api.http.refusals import Refusal, Refused
from api.posting.batches import Outcome
from api.posting.exchange import Exchange
from api.posting.operations import Pay, fingerprint_of
from api.posting.posting import Posting
from api.routes.answers import Answer, as_response, certain, count, encode
from api.routes.banks import KnownBanks
from api.routes.described import PAYS_ACROSS, described
from api.routes.requests import OWN_HEAD, Head, read_body, read_head
from polka.rules.keys import Caller, Scope
from polka.rules.money import is_currency
from polka.rules.transactions import Payment, Transaction, is_account_id
from polka.service.instrumentation import REQUESTS


class Payments:
    """Requests with payments: their checks, and their way into posting."""

    def __init__(
        self, posting: Posting, known_banks: KnownBanks, exchange: Exchange, request_timeout_seconds: float
    ) -> None:
        self.posting = posting
        self.exchange = exchange
        self.request_timeout_seconds = request_timeout_seconds
        self._known_banks = known_banks

    async def answer(self, scope: Any, receive: Receive) -> Answer:
        """The answer to an unread `POST /transaction`."""
        outcome = await certain(self._pay(scope, receive))
        count("payment", outcome)
        return encode(outcome, 201, scope["caller"])

    async def _pay(self, scope: Any, receive: Receive) -> Outcome:
        head = read_head(scope, self.request_timeout_seconds)
        payment = problems.read(decode, await read_body(head, receive))
        if no := check(payment, head.caller):
            return no
        if payment.crosses and self.exchange.is_outdated:
            await head.in_time(self.exchange.refresh())
        converted = self.exchange.convert(payment)
        if isinstance(converted, Refused):
            return await self._refuse_conversion(payment, head, converted)
        if not self.knows_banks(payment) and (no := await head.in_time(self.unknown_bank(payment))):
            return await self.posting.refuse(fingerprint_of(payment), head.key, no, head.seconds_left)
        return await self.posting.post(Pay(payment, converted), head.key, head.seconds_left)

    async def _refuse_conversion(self, payment: Payment, head: Head, refused: Refused) -> Outcome:
        """A repeated request gets its first answer, regardless of later rates.

        A passing refusal (no rates, or only old rates) is not final, so the key stays free.
        """
        fingerprint = fingerprint_of(payment)
        if refused.refusal.value.status != 503:
            return await self.posting.refuse(fingerprint, head.key, refused, head.seconds_left)
        if head.key and (known := await head.in_time(self.posting.known(head.key, fingerprint))):
            return known
        return refused

    def knows_banks(self, payment: Payment) -> bool:
        """Whether both banks are known here."""
        return self._known_banks.has(payment.sender.bank, payment.receiver.bank)

    async def unknown_bank(self, payment: Payment | Transaction) -> Refused | None:
        """The rejection of a payment with an unknown bank."""
        await self.meet_banks([payment])
        return self.stranger(payment)

    async def meet_banks(self, payments: Iterable[Payment | Transaction]) -> None:
        """Look up the unknown banks of these payments, in a single query."""
        await self._known_banks.meet({party.bank for one in payments for party in (one.sender, one.receiver)})

    def stranger(self, payment: Payment | Transaction) -> Refused | None:
        """The refusal of a payment with an unknown bank, after its banks were looked up."""
        for field, party in (("sender.bank", payment.sender), ("receiver.bank", payment.receiver)):
            if not self._known_banks.has(party.bank):
                return Refused(Refusal.UNKNOWN_BANK, f"{field}: there is no bank {party.bank}.", field)
        return None


def check(payment: Payment | Transaction, caller: Caller) -> Refused | None:
    """The refusal of an invalid payment, or of a payment that this caller may not make, in the order of precedence."""
    if not caller.acts_for(payment.sender.bank):
        return Refused(Refusal.FORBIDDEN, f"sender.bank: the key sends for {caller.bank} alone.", "sender.bank")
    for field, party in (("sender", payment.sender), ("receiver", payment.receiver)):
        if not is_account_id(party.account):
            return Refused(Refusal.INVALID, f"{field}.account: {FORMS['account']}.", f"{field}.account")
    if payment.sender == payment.receiver:
        return Refused(Refusal.SAME_ACCOUNT, "receiver: it is the sender's own account.", "receiver")
    if not is_currency(payment.currency):
        return unknown_currency("currency", payment.currency)
    if isinstance(payment.receiver_currency, str) and not is_currency(payment.receiver_currency):
        return unknown_currency("receiver_currency", payment.receiver_currency)
    return None


def unknown_currency(field: str, code: str) -> Refused:
    return Refused(Refusal.UNKNOWN_CURRENCY, f"{field}: ISO 4217 has no currency {code} with minor units.", field)


decode = msgspec.json.Decoder(Payment).decode


@post(
    "/transaction",
    tags=["Payments"],
    guards=[Needs(Scope.TRANSACTIONS_WRITE)],
    opt=OWN_HEAD | described(*PAYS_ACROSS, body=Payment, parameters=["Idempotency-Key"]),
)
async def post_transaction(
    request: Request[Any, Any, Any], payments: NamedDependency[Payments]
) -> Response[Transaction]:
    """Make a payment. The answer 201 comes after the payment is durable."""
    return as_response(await payments.answer(request.scope, request.receive))


class FastLane:
    """Answers `POST /transaction` at the door, because Litestar's way costs as much again."""

    def __init__(self, app: ASGIApp, payments: Payments) -> None:
        self._app = app
        self._payments = payments
        for refusal in Refusal:
            if refusal.value.status >= 500:  # from 0 on: a rate misses a failure whose count starts at 1
                REQUESTS.labels("POST", "/transaction", str(refusal.value.status))

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/transaction" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["path_template"] = "/transaction"
        if refused := lacking(scope["caller"], Scope.TRANSACTIONS_WRITE):
            answer = problems.encode(refused)
        else:
            answer = await self._payments.answer(scope, receive)
        await problems.send_answer(answer, send)
