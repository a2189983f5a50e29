"""The ledger in memory: what is posted for each bank as of one flush, and the batches that are pending.

Pure: no clock, no database. What counts is decided by the batch rows in the database, never here.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from uuid import UUID

import msgspec

from polka.transactions import Entry

YOUNG_MAX = 1_000
"""Ids passed over in search of old ones: some were made by a clock that is ahead."""

Sums = dict[str, dict[str, int]]
"""Minor units by bank and currency."""


class Posted(msgspec.Struct, frozen=True):
    """A batch that a flush has posted, with the entries that its row says."""

    id: UUID
    entries: Sequence[Entry]


class Hold(Enum):
    """What became of a batch that the cache was told of."""

    PENDING = "pending"
    KNOWN = "known"
    LATE = "late"


class Ledger:
    """Positions as of flush `flush`: posted, and pending on top of it."""

    def __init__(self, posted: Sums, flush: int, done: Mapping[UUID, int]) -> None:
        self.flush = flush
        self.pending: dict[UUID, Sequence[Entry]] = {}
        self._posted = posted
        self._pending_sums: Sums = {}
        self._done = dict(done)

    def hold(self, batch: UUID, entries: Sequence[Entry], replaces: Iterable[UUID], oldest_milliseconds: int) -> Hold:
        """Take a batch as pending, in place of those that it replaces.

        A batch made before `oldest_milliseconds` (of the Unix epoch) comes too late: it may have been posted
        so long ago that its id is forgotten.
        """
        for failed in replaces:
            self.drop(failed)
        if batch in self._done or batch in self.pending:
            return Hold.KNOWN
        if made_at_milliseconds(batch) < oldest_milliseconds:
            return Hold.LATE
        self.keep(batch, entries)
        return Hold.PENDING

    def keep(self, batch: UUID, entries: Sequence[Entry]) -> None:
        """Have the batch pending with these entries, whatever was known of it."""
        self.drop(batch)
        self.pending[batch] = entries
        add(self._pending_sums, entries)

    def drop(self, batch: UUID) -> None:
        """Forget a pending batch, which cannot commit any more or is posted."""
        add(self._pending_sums, self.pending.pop(batch, ()), sign=-1)

    def finish(self, batch: UUID, flush: int) -> None:
        """Drop a batch that is void, or posted by a flush that `posted` includes, and remember its id."""
        self.drop(batch)
        self._done[batch] = flush

    def absorb(self, flush: int, batches: Iterable[Posted]) -> None:
        """Move what a flush has posted from pending to posted."""
        for batch in batches:
            self.finish(batch.id, flush)
            add(self._posted, batch.entries)
        self.flush = flush

    def forget(self, oldest_milliseconds: int) -> None:
        """Forget ids so old that a late POST of theirs would not be held anyway."""
        old, young = [], 0
        for batch in self._done:  # in about the order in which they were made
            if made_at_milliseconds(batch) < oldest_milliseconds:
                old.append(batch)
            elif (young := young + 1) > YOUNG_MAX:
                break
        for batch in old:
            del self._done[batch]

    def bank(self, name: str) -> dict[str, tuple[int, int]]:
        """What the bank has posted and pending, by currency."""
        posted, pending = self._posted.get(name, {}), self._pending_sums.get(name, {})
        return {
            currency: (posted.get(currency, 0), pending.get(currency, 0))
            for currency in sorted(posted.keys() | pending.keys())
        }

    def accounts_pending(self, bank: str) -> dict[str, dict[str, int]]:
        """What is pending on the bank's accounts, by account and currency."""
        sums: Sums = {}
        for entries in self.pending.values():
            add(
                sums,
                [(account, "", currency, amount) for owner, account, currency, amount in entries if owner == bank],
            )
        return sums


def add(sums: Sums, entries: Iterable[Entry], sign: int = 1) -> None:
    for bank, _, currency, amount in entries:
        held = sums.get(bank)
        if held is None:
            held = sums[bank] = {}
        held[currency] = held.get(currency, 0) + sign * amount


def made_at_milliseconds(batch: UUID) -> int:
    """The time in a version 7 id (RFC 9562), in milliseconds of the Unix epoch."""
    return batch.int >> 80
