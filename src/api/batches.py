"""Operations on their way, and the batches that they are committed in."""

import asyncio
from collections.abc import Iterable, Sequence

import msgspec
from uuid_utils import UUID, uuid7

from api.operations import Key, Operation, Parts, Results
from api.refusals import Refused
from polka.messages import Telling
from polka.policy import Policy
from polka.transactions import Transaction


class Accepted(msgspec.Struct, frozen=True):
    """A yes: it is durable. `replayed` when an earlier request with this key brought it about."""

    result: Transaction | Results
    replayed: bool = False


Outcome = Accepted | Refused


class Pending:
    """An operation on its way, and the callers who wait for it (several, if one repeats himself)."""

    __slots__ = ("decided", "fingerprint", "is_committing", "key", "operation", "policy", "replaces", "waiters")

    def __init__(
        self, operation: Operation, key: Key | None, fingerprint: str, decided: Operation, policy: Policy
    ) -> None:
        self.operation = operation
        self.decided = decided  # the operation as it is to be done under this policy
        self.policy = policy
        self.key = key
        self.fingerprint = fingerprint
        self.waiters: list[asyncio.Future[Outcome]] = []
        self.is_committing = False  # not the batch itself: in a cycle, both would outlive their answer
        self.replaces: UUID | None = None

    def answer(self, outcome: Outcome) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(outcome)
        self.waiters.clear()


class Batch:
    """Operations that are committed together, as decided under one policy. Its id names this one set of entries for
    ever."""

    def __init__(self, pending: Sequence[Pending]) -> None:
        self.id = uuid7()
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
        self.bulks = encode(parts.bulks) if parts.bulks else b""

    def telling(self, failed: Iterable[UUID]) -> Telling:
        """The batch as the cache is told of it, and of others that have failed for sure, of which nothing is left."""
        replaced = {str(one.replaces) for one in self.pending if one.replaces}
        return Telling(str(self.id), msgspec.Raw(self.payload), sorted(replaced.union(map(str, failed))))


encode = msgspec.json.Encoder().encode
