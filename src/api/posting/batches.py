"""Operations on their way, and the batches that they are committed in."""

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
    """A yes: it is durable. `replayed` when an earlier request with this key brought it about."""

    result: Transaction | Results
    replayed: bool = False


Outcome = Accepted | Refused


class Waiter(Protocol):
    """Who waits for an outcome: a future, or what writes an answer."""

    def done(self) -> bool: ...

    def set_result(self, outcome: Outcome, /) -> None: ...


class Pending:
    """An operation on its way, and the callers who wait for it (several, if one repeats himself)."""

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
        self.decided = decided  # the operation as it is to be done under this policy
        self.policy = policy
        self.key = key
        self.fingerprint = fingerprint
        self.waiters: list[Waiter] = []
        self.is_committing = False  # not the batch itself: in a cycle, both would outlive their answer
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
    """Operations that are committed together, as decided under one policy. Its id names this one set of entries for
    ever."""

    def __init__(self, pending: Sequence[Pending], id: UUID | None = None, epoch: int | None = None) -> None:
        self.id = id or uuid7()
        self.epoch = epoch  # of the cache that has reserved for it, if it needs that
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
        self.bulks = json.dumps(parts.bulks).encode() if parts.bulks else b""  # a balance in a refusal knows no bound

    def names(self) -> Mapping[str, object]:
        """What the log tells of it, beside a line's text."""
        return {"batch": str(self.id), "requests": [one.request for one in self.pending]}

    def telling(self, failed: Iterable[UUID]) -> Telling:
        """The batch as the cache is told of it, and of others that have failed for sure, of which nothing is left."""
        return Telling(str(self.id), msgspec.Raw(self.payload), replaced(self.pending, failed))


class Wish:
    """Operations for which room under caps is to be reserved, by the id of the batch that they would be."""

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
        """What is left to do of each operation where some of the units that were asked for are refused."""
        first = 0
        for one, units in zip(self.pending, self._units, strict=True):
            last = first + len(units)
            own = {place - first: cap_exceeded(refused[place]) for place in range(first, last) if place in refused}
            yield one, one.decided.without(own) if own else one.decided
            first = last


class Reservation(msgspec.Struct, frozen=True):
    """Room under caps that the cache keeps in this epoch for operations, by the id of the batch that they will be."""

    batch: UUID
    epoch: int
    accepted: Sequence[Pending]


def replaced(pending: Iterable[Pending], failed: Iterable[UUID]) -> list[str]:
    """The batches in whose place these operations are, and those that have failed."""
    return sorted({str(one.replaces) for one in pending if one.replaces}.union(map(str, failed)))


encode = msgspec.json.Encoder().encode
