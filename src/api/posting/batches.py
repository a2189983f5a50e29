"""Operations that are queued, and the batches that commit the operations."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec
from uuid_utils import UUID, uuid7

from api.http.refusals import Refused, cap_exceeded
from api.posting.operations import Key, No, Operation, Parts, Results
from polka.rules.messages import Asking, Overdraft, Telling
from polka.rules.policy import Policy
from polka.rules.transactions import Transaction
from polka.service import traces
from polka.service.logs import request_id


class Accepted(msgspec.Struct, frozen=True):
    """The operation is durable. `replayed` if an earlier request with the same key made the result."""

    result: Transaction | Results
    replayed: bool = False


Outcome = Accepted | Refused


class Waiter(Protocol):
    """A caller that waits for an outcome: a future, or an object that writes an answer."""

    def done(self) -> bool: ...

    def set_result(self, outcome: Outcome, /) -> None: ...


class Pending:
    """A queued operation, and its waiting callers. A repeated request adds another caller."""

    __slots__ = (
        "arrived",
        "decided",
        "fingerprint",
        "is_committing",
        "key",
        "operation",
        "policy",
        "replaces",
        "request",
        "span",
        "waiters",
    )

    def __init__(
        self,
        operation: Operation,
        key: Key | None,
        fingerprint: str,
        decided: Operation,
        policy: Policy,
        request: str | None = None,
    ) -> None:
        self.arrived = time.perf_counter()
        self.request = request_id.get("") if request is None else request
        self.span = traces.current()
        self.operation = operation
        self.decided = decided  # the operation as decided under this policy
        self.policy = policy
        self.key = key
        self.fingerprint = fingerprint
        self.waiters: list[Waiter] = []
        self.is_committing = False  # a reference to the batch would make a cycle, and both would outlive their answer
        self.replaces: UUID | None = None

    @property
    def bank(self) -> str:
        return self.operation.bank

    @property
    def size(self) -> int:
        return self.operation.size

    def decide(self, decided: Operation, policy: Policy) -> None:
        self.decided, self.policy = decided, policy

    def answer(self, outcome: Outcome) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(outcome)
        self.waiters.clear()


class Batch:
    """Operations that are committed together, as decided under one policy. The id names this set of entries for
    ever."""

    def __init__(self, pending: Sequence[Pending], id: UUID | None = None, epoch: int | None = None) -> None:
        self.id = id or uuid7()
        self.epoch = epoch  # of the cache with the reservation, if the batch needs one
        self.pending = pending
        self.policy = pending[0].policy.version
        parts = Parts()
        for one in pending:
            one.decided.add_to(parts, one.key, one.fingerprint)
            one.is_committing = True
        self.size = parts.size
        self.payload = encode(parts.entries)
        self.payments = encode(parts.payments)
        self.changes = encode(parts.changes) if parts.changes else b""
        self.bulks = json.dumps(parts.bulks).encode() if parts.bulks else b""  # a balance in a refusal has no bound

    def names(self) -> Mapping[str, object]:
        """The fields of the batch in a line of the log."""
        return {"batch": str(self.id), "requests": [one.request for one in self.pending]}

    def telling(self, failed: Iterable[UUID]) -> Telling:
        """The message to the cache: this batch, and the batches whose commits failed for certain."""
        return Telling(str(self.id), msgspec.Raw(self.payload), replaced(self.pending, failed))


class Wish:
    """Operations that need room under caps. `id` is the id of their later batch."""

    def __init__(self, pending: Sequence[Pending], failed: Iterable[UUID]) -> None:
        self.id = uuid7()
        self.pending = pending
        self._units = [one.decided.units() for one in pending]
        self.asking = Asking(
            str(self.id),
            pending[0].policy.version,
            [entries for units in self._units for entries in units],
            replaced(pending, failed),
        )

    def outcomes(self, refused: Mapping[int, Overdraft]) -> Iterator[tuple[Pending, Operation | No]]:
        """What remains of each operation after the cache has refused some of its units."""
        first = 0
        for one, units in zip(self.pending, self._units, strict=True):
            last = first + len(units)
            own = {place - first: cap_exceeded(refused[place]) for place in range(first, last) if place in refused}
            yield one, one.decided.without(own) if own else one.decided
            first = last


class Reservation(msgspec.Struct, frozen=True):
    """Room under caps that the cache keeps for operations in this epoch. `batch` is the id of their later batch."""

    batch: UUID
    epoch: int
    accepted: Sequence[Pending]


def failure(failed: UUID) -> Telling:
    """The message to the cache that nothing of this batch is recorded, and nothing will be."""
    return Telling(str(failed), msgspec.Raw(b"[]"), [])


def replaced(pending: Iterable[Pending], failed: Iterable[UUID]) -> list[str]:
    """The ids of the batches that these operations replace, and of other failed batches."""
    return sorted({str(one.replaces) for one in pending if one.replaces}.union(map(str, failed)))


encode = msgspec.json.Encoder().encode
