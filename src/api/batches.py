"""Payments on their way, and the batches that they are committed in."""

import asyncio
import hashlib
from collections.abc import Sequence

import msgspec
from uuid_utils import UUID, uuid7

from api.commits import Key
from api.refusals import Refused
from polka.messages import Telling
from polka.transactions import Payment, Transaction, entries_of


class Accepted(msgspec.Struct, frozen=True):
    """A yes: the transaction is durable. `replayed` when an earlier request with this key brought it about."""

    transaction: Transaction
    replayed: bool = False


Outcome = Accepted | Refused


class Pending:
    """A payment on its way, and the callers who wait for it (several, if one repeats himself)."""

    __slots__ = ("batch", "fingerprint", "id", "key", "payment", "replaces", "waiters")

    def __init__(self, payment: Payment, key: Key | None, fingerprint: str) -> None:
        self.id = uuid7()
        self.payment = payment
        self.key = key
        self.fingerprint = fingerprint
        self.waiters: list[asyncio.Future[Outcome]] = []
        self.batch: Batch | None = None
        self.replaces: UUID | None = None

    def answer(self, outcome: Outcome) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(outcome)
        self.waiters.clear()

    def row(self) -> tuple[str | int | None, ...]:
        """The payment as the commit's statement reads it."""
        payment = self.payment
        sender, receiver = payment.sender, payment.receiver
        return (
            str(self.id),
            sender.bank,
            sender.account,
            receiver.bank,
            receiver.account,
            payment.amount,
            payment.currency,
            payment.reference,
            *(self.key or NO_KEY),
            self.fingerprint,
        )


class Batch:
    """Payments that are committed together. Its id names this one set of entries for ever."""

    def __init__(self, payments: Sequence[Pending]) -> None:
        self.id = uuid7()
        self.payments = payments
        self.payload = encode([entry for pending in payments for entry in entries_of(pending.payment)])
        self.rows = encode([pending.row() for pending in payments])
        for pending in payments:
            pending.batch = self

    def telling(self) -> Telling:
        """The batch as the cache is told of it."""
        replaced = {str(pending.replaces) for pending in self.payments if pending.replaces}
        return Telling(str(self.id), msgspec.Raw(self.payload), sorted(replaced))


def fingerprint_of(payment: Payment) -> str:
    """What tells one request from another under the same key."""
    return hashlib.blake2b(encode(payment), digest_size=16).hexdigest()


encode = msgspec.json.Encoder().encode
NO_KEY = (None, None)
