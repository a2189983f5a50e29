"""`POST /transaction` without ASGI: the plain payment of a known caller, as soon as the request is read.

All requests with a refusal or an earlier answer go to the app, which knows all answers and their precedence.
"""

import asyncio
import logging
from time import perf_counter

from api.http.access import Access
from api.posting.batches import Outcome
from api.posting.operations import Pay
from api.routes.answers import count, encode
from api.routes.payments import Payments, check, decode
from polka.edge.direct import Direct
from polka.rules.headers import is_idempotency_key
from polka.rules.keys import Caller, Scope
from polka.service.instrumentation import HEADER, Instrumented

log = logging.getLogger(__name__)


class DirectLane:
    """Takes plain payments of one currency between known banks, from callers within their limits."""

    def __init__(self, payments: Payments, access: Access, instrumented: Instrumented) -> None:
        self._payments = payments
        self._access = access
        self.instrumented = instrumented
        self._loop = asyncio.get_running_loop()

    def take(self, request: Direct) -> bool:
        """Take the request, and answer later. Returns False, and changes nothing, if the request is for the app."""
        began = perf_counter()
        fields, payments, access = request.fields, self._payments, self._access
        header, key = fields.get(b"authorization"), fields.get(b"idempotency-key")
        if header is None or (key is not None and not is_idempotency_key(key)):
            return False
        caller = access.known(header)
        if caller is None or Scope.TRANSACTIONS_WRITE not in caller.scopes:
            return False
        try:
            payment = decode(request.body)
        except (ValueError, RecursionError):
            return False
        if payment.crosses or check(payment, caller) or not payments.knows_banks(payment):
            return False
        if not access.admits(caller):
            return False
        own = self.instrumented.ids.of_header(fields.get(HEADER))
        waiter = Waiting(self, request, caller, own, began)
        named = (caller.name, key.decode()) if key is not None else None
        deadline = self._loop.time() + payments.request_timeout_seconds
        if payments.posting.offer(Pay(payment), named, waiter, deadline, own.decode()):
            return True
        access.admits_not(caller)
        return False


class Waiting:
    """Writes the answer to a payment once the outcome is certain."""

    __slots__ = ("_began", "_caller", "_is_done", "_lane", "_own", "_request")

    def __init__(self, lane: DirectLane, request: Direct, caller: Caller, own: bytes, began: float) -> None:
        self._lane = lane
        self._request = request
        self._caller = caller
        self._own = own
        self._began = began
        self._is_done = False

    def done(self) -> bool:
        return self._is_done

    def set_result(self, outcome: Outcome) -> None:
        """Answer. This must not raise an exception, because other requests of the same commit still wait for their
        answers."""
        self._is_done = True
        try:
            count("payment", outcome)
            status, headers, body = encode(outcome, 201, self._caller)
            self._lane.instrumented.count("POST", "/transaction", status, self._began)
            self._request.answer(status, (*headers, (HEADER, self._own)), body)
        except Exception:
            log.exception("an answer could not be sent")
            self._request.abort()
