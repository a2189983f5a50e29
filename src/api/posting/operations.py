"""The effect of a request on the ledger: a new payment, a change of a payment, or many new payments."""

import hashlib
from collections.abc import Mapping, Sequence
from copy import copy
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET
from uuid_utils import uuid7

from api.http.refusals import Refusal, Refused
from api.posting import suspension
from api.posting.rows import Key as Key
from api.posting.rows import change_row, payment_row
from polka.rules.fees import fee_of
from polka.rules.policy import Caps, Policy, capped_nets, falls
from polka.rules.problem import ItemRefused
from polka.rules.rates import Converted
from polka.rules.transactions import POLKA, Entry, Payment, Transaction, entries_of, recorded, reversal_of

No = Refused | list[Refused]
"""Refuses an operation, or each item of a bulk request."""


class Parts:
    """The parts of a commit's statement: the batch's entries, and the rows to write."""

    __slots__ = ("bulks", "changes", "entries", "payments")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.payments: list[tuple[Any, ...]] = []
        self.changes: list[tuple[Any, ...]] = []
        self.bulks: list[tuple[Any, ...]] = []

    @property
    def size(self) -> int:
        """Payments and changes: the number of versions in this batch."""
        return len(self.payments) + len(self.changes)


class Pay:
    """A new payment. `converted` is the receiver's amount in another currency. `fee` is set once the fee is decided."""

    __slots__ = ("converted", "fee", "id", "payment")
    size = 1

    def __init__(self, payment: Payment, converted: Converted | None = None) -> None:
        self.id = str(uuid7())
        self.payment = payment
        self.converted = converted
        self.fee: int | None = None

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.payment)

    @property
    def bank(self) -> str:
        """The bank whose share of the queue the payment uses: the sender's, even if an operator pays for the sender."""
        return self.payment.sender.bank

    def under(self, policy: Policy) -> "Pay | Refused":
        """The operation as decided under this policy, or its refusal."""
        if not policy.banks:
            return self
        payment = self.payment
        if no := suspension.refused_payment(payment, policy):
            return no
        fee = fee_of(policy.terms(payment.sender.bank), payment.amount, payment.currency)
        return self if fee is None else self._with_fee(fee)

    def _with_fee(self, fee: int) -> "Pay":
        decided = copy(self)
        decided.fee = fee
        return decided

    @property
    def entries(self) -> Sequence[Entry]:
        return entries_of(self.payment, self.converted, self.fee)

    def units(self) -> list[Sequence[Entry]]:
        """The entries of each part that can be refused without the others."""
        return [self.entries]

    def without(self, refused: Mapping[int, Refused]) -> "Pay | Refused":
        """What remains of the operation. `refused` has the refusals of units by their index."""
        return refused.get(0, self)

    def add_to(self, parts: Parts, key: Key | None, fingerprint: str) -> None:
        parts.entries += self.entries
        parts.payments.append(payment_row(self.id, self.payment, self.converted, self.fee, key, fingerprint))

    def result(self, batch: str, at: datetime) -> Transaction:
        """The transaction that this batch made at this time."""
        return recorded(self.payment, self.id, batch, at, self.converted, self.fee)


class Change:
    """An amended or deleted payment: the version that was read, and the new version."""

    __slots__ = ("by", "fingerprint", "new", "old", "reason")
    size = 1

    def __init__(self, old: Transaction, new: Transaction, fingerprint: str, by: str, reason: str | None) -> None:
        self.old = old
        self.new = new
        self.fingerprint = fingerprint
        self.by = by
        self.reason = reason

    @property
    def bank(self) -> str:
        """The bank whose share of the queue the change uses. Operators have their own share, so a bank's flood delays
        no correction."""
        return self.by

    def under(self, policy: Policy) -> "Change | Refused":
        """The operation as decided under this policy, or its refusal."""
        if no := suspension.refused_reversal(self.old, self.by == POLKA, policy):
            return no
        new = self.new
        if new.status == "deleted":
            return self
        if no := suspension.refused_payment(new, policy):
            return no
        fee = fee_of(policy.terms(new.sender.bank), new.amount, new.currency)
        new = msgspec.structs.replace(new, fee=UNSET if fee is None else fee)
        return Change(self.old, new, self.fingerprint, self.by, self.reason)

    @property
    def entries(self) -> Sequence[Entry]:
        made = entries_of(self.new, self.new.converted, self.new.fee) if self.new.status == "accepted" else ()
        return (*reversal_of(self.old), *made)

    def units(self) -> list[Sequence[Entry]]:
        """The entries of each part that can be refused without the others."""
        return [self.entries]

    def without(self, refused: Mapping[int, Refused]) -> "Change | Refused":
        """What remains of the operation. `refused` has the refusals of units by their index."""
        return refused.get(0, self)

    def add_to(self, parts: Parts, key: Key | None, fingerprint: str) -> None:
        parts.entries += self.entries
        parts.changes.append(change_row(self.old, self.new, self.by, self.reason, key, fingerprint))

    def result(self, batch: str, at: datetime) -> Transaction:
        version = self.old.version + 1
        return msgspec.structs.replace(
            self.new, version=version, batch=batch, changed_at=at, posted_at=None, window=None
        )


Results = list[Transaction | Refused]
"""One result for each item of a bulk request, in their order."""


class Bulk:
    """Payments of one request that are committed together: all payments, or all that are not refused.

    The request uses the caller's share of the queue (`bank`). Operators pay for many banks, and have their own share.
    """

    __slots__ = ("bank", "fingerprint", "is_atomic", "items", "size")

    def __init__(
        self, items: Sequence[Pay | Refused], fingerprint: str, is_atomic: bool = True, bank: str = POLKA
    ) -> None:
        self.bank = bank
        self.items = items
        self.fingerprint = fingerprint
        self.is_atomic = is_atomic
        self.size = sum(isinstance(item, Pay) for item in items)

    def under(self, policy: Policy) -> "Bulk | No":
        """The operation as decided under this policy, or its refusal."""
        if not policy.banks and self.size:
            return self
        items = [item.under(policy) if isinstance(item, Pay) else item for item in self.items]
        if self.is_atomic and any(isinstance(item, Refused) for item in items):
            return items_refused(items)
        return self._with(items)

    def _with(self, items: Sequence[Pay | Refused]) -> "Bulk | list[Refused]":
        refused = [item for item in items if isinstance(item, Refused)]
        return refused if len(refused) == len(items) else Bulk(items, self.fingerprint, self.is_atomic, self.bank)

    def units(self) -> list[Sequence[Entry]]:
        """The entries of each part that can be refused without the others."""
        each = [item.entries for item in self.items if isinstance(item, Pay)]
        return [[entry for entries in each for entry in entries]] if self.is_atomic else each

    def without(self, refused: Mapping[int, Refused]) -> "Bulk | No":
        """What remains of the operation. `refused` has the refusals of units by their index."""
        if self.is_atomic:
            return refused.get(0, self)
        places = (place for place, item in enumerate(self.items) if isinstance(item, Pay))
        by_place = {place: refused[unit] for unit, place in enumerate(places) if unit in refused}
        return self._with([by_place.get(place, item) for place, item in enumerate(self.items)])

    def add_to(self, parts: Parts, key: Key | None, fingerprint: str) -> None:
        for item in self.items:
            if isinstance(item, Pay):
                item.add_to(parts, None, "")
        if key:
            parts.bulks.append((*key, fingerprint, self.stored()))

    def stored(self) -> list[Any]:
        """The items in the key's row: a transaction's id, or a refusal."""
        return [item.id if isinstance(item, Pay) else item.stored() for item in self.items]

    def result(self, batch: str, at: datetime) -> Results:
        return [item.result(batch, at) if isinstance(item, Pay) else item for item in self.items]


Operation = Pay | Change | Bulk


def lowers_capped(operation: Operation, caps: Caps) -> bool:
    """Whether a unit of the operation lowers a capped balance. A payment lowers only its sender's balance."""
    if isinstance(operation, Pay):
        sender, currency = operation.payment.sender, operation.payment.currency
        if sender.bank not in caps:
            return False
        if operation.converted is None and not operation.fee:
            return currency in caps[sender.bank] and sender.bank != operation.payment.receiver.bank
    return any(falls(capped_nets(entries, caps)) for entries in operation.units())


def items_refused(items: Sequence[Pay | Refused]) -> Refused:
    """One refusal that lists the refused items and their reasons."""
    refused = [
        ItemRefused(index, item.refusal.value.code, item.detail, item.field)
        for index, item in enumerate(items)
        if isinstance(item, Refused)
    ]
    return Refused(Refusal.ITEMS_REFUSED, f"{len(refused)} of {len(items)} payments are refused.", items=refused)


def fingerprint_of(*request: Any) -> str:
    """Distinguishes different requests under the same key."""
    return hashlib.blake2b(encode(request[0] if len(request) == 1 else request), digest_size=16).hexdigest()


encode = msgspec.json.Encoder().encode
