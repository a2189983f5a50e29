"""What a request does to the ledger: makes a payment, changes one, or makes many at once."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import astuple
from uuid_utils import uuid7

from api.refusals import Refused
from polka.rates import Converted
from polka.transactions import Entry, Payment, Transaction, across, entries_of, reversal_of

Key = tuple[str, str]
"""Who asked, and the idempotency key that he gave."""


class Parts:
    """What a commit's statement is made of: the batch's entries, and the rows that it writes."""

    __slots__ = ("bulks", "changes", "entries", "payments")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.payments: list[tuple[Any, ...]] = []
        self.changes: list[tuple[Any, ...]] = []
        self.bulks: list[tuple[Any, ...]] = []

    @property
    def size(self) -> int:
        """Payments and changes: how many versions name this batch."""
        return len(self.payments) + len(self.changes)


class Pay:
    """A new payment, and what its receiver gets if that is another currency."""

    __slots__ = ("converted", "id", "payment")
    size = 1

    def __init__(self, payment: Payment, converted: Converted | None = None) -> None:
        self.id = str(uuid7())
        self.payment = payment
        self.converted = converted

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.payment)

    def add_to(self, parts: Parts, key: Key | None, fingerprint: str) -> None:
        parts.entries += entries_of(self.payment, self.converted)
        parts.payments.append(self._row(key, fingerprint))

    def _row(self, key: Key | None, fingerprint: str) -> tuple[Any, ...]:
        payment = self.payment
        sender, receiver = payment.sender, payment.receiver
        return (
            self.id,
            sender.bank,
            sender.account,
            receiver.bank,
            receiver.account,
            payment.amount,
            payment.currency,
            payment.reference,
            *(key or NO_KEY),
            fingerprint,
            *(astuple(self.converted) if self.converted else ()),
        )

    def result(self, batch: str, at: datetime) -> Transaction:
        """The transaction that the batch, committed at this time, has made of it."""
        payment = self.payment
        made = Transaction(
            self.id,
            1,
            "accepted",
            payment.sender,
            payment.receiver,
            payment.amount,
            payment.currency,
            payment.reference,
            batch,
            at,
        )
        return across(made, self.converted) if self.converted else made


class Change:
    """A payment amended or deleted: what it was when it was read, and what it is to be."""

    __slots__ = ("by", "fingerprint", "new", "old", "reason")
    size = 1

    def __init__(self, old: Transaction, new: Transaction, fingerprint: str, by: str, reason: str | None) -> None:
        self.old = old
        self.new = new
        self.fingerprint = fingerprint
        self.by = by
        self.reason = reason

    def add_to(self, parts: Parts, key: Key | None, fingerprint: str) -> None:
        parts.entries += reversal_of(self.old)
        if self.new.status == "accepted":
            parts.entries += entries_of(self.new, self.new.converted)
        new = self.new
        parts.changes.append(
            (
                new.id,
                self.old.version,
                new.status,
                new.sender.bank,
                new.sender.account,
                new.receiver.bank,
                new.receiver.account,
                new.reference,
                self.by,
                self.reason,
                *(key or NO_KEY),
                fingerprint,
            )
        )

    def result(self, batch: str, at: datetime) -> Transaction:
        version = self.old.version + 1
        return msgspec.structs.replace(
            self.new, version=version, batch=batch, changed_at=at, posted_at=None, window=None
        )


Results = list[Transaction | Refused]
"""Of the items of a bulk request, in their order."""


class Bulk:
    """Payments of one request that are committed together, beside items that were refused before."""

    __slots__ = ("fingerprint", "items", "size")

    def __init__(self, items: Sequence[Pay | Refused], fingerprint: str) -> None:
        self.items = items
        self.fingerprint = fingerprint
        self.size = sum(isinstance(item, Pay) for item in items)

    def add_to(self, parts: Parts, key: Key | None, fingerprint: str) -> None:
        for item in self.items:
            if isinstance(item, Pay):
                item.add_to(parts, None, "")
        if key:
            parts.bulks.append((*key, fingerprint, self.stored()))

    def stored(self) -> list[Any]:
        """The items as the key's row keeps them: a transaction's id, or what was refused."""
        return [item.id if isinstance(item, Pay) else item.stored() for item in self.items]

    def result(self, batch: str, at: datetime) -> Results:
        return [item.result(batch, at) if isinstance(item, Pay) else item for item in self.items]


Operation = Pay | Change | Bulk


def fingerprint_of(*request: Any) -> str:
    """What tells one request from another under the same key."""
    return hashlib.blake2b(encode(request[0] if len(request) == 1 else request), digest_size=16).hexdigest()


encode = msgspec.json.Encoder().encode
NO_KEY = (None, None)
