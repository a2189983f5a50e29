"""The ledger in memory: the posted balances of each bank as of one flush, and the pending batches.

Pure: no clock, no database. The batch rows in the database decide whether payments count, never this ledger.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from heapq import nlargest
from uuid import UUID

import msgspec

from polka.rules.liquidity import CapUse, cap_use
from polka.rules.messages import Overdraft
from polka.rules.policy import Nets, Policy, capped_nets, falls
from polka.rules.transactions import POLKA, Entry

YOUNG_MAX = 1_000
"""Young ids to skip in the search for old ids, because some ids come from a clock that is ahead."""

Sums = dict[str, dict[str, int]]
"""Minor units by bank and currency."""


class Posted(msgspec.Struct, frozen=True):
    """A batch that a flush has posted, with the entries of its row."""

    id: UUID
    entries: Sequence[Entry]


class Hold(Enum):
    """The result of an announcement of a batch."""

    PENDING = "pending"
    KNOWN = "known"
    LATE = "late"


class Ledger:
    """Positions as of flush `flush`: posted, and pending on top. Reserves under the caps of one policy.

    This is one class of two hundred lines, because all its parts change together. No reader may see half of a change.
    """

    def __init__(self, posted: Sums, flush: int, done: Mapping[UUID, int]) -> None:
        self.flush = flush
        self.policy = Policy(-1)
        self.pending: dict[UUID, Sequence[Entry]] = {}
        self._aside: set[UUID] = set()  # pending batches whose rows cannot be posted
        self._posted = posted
        self._pending_sums: Sums = {}
        self._falls: dict[UUID, Nets] = {}  # of each pending batch that lowers a capped balance
        self._pending_out: dict[tuple[str, str], int] = {}  # their sums
        self._reserved: dict[UUID, dict[int, Overdraft]] = {}  # the refused units of each pending batch
        self._done = dict(done)

    def hold(self, batch: UUID, entries: Sequence[Entry], replaces: Iterable[UUID], oldest_milliseconds: int) -> Hold:
        """Hold a batch as pending, in place of the batches that it replaces.

        The replaced batches have failed. An overtaken message about one of them is not held any more.

        A batch made before `oldest_milliseconds` (of the Unix epoch) is late. Such a batch may have been posted so long
        ago that its id is forgotten.
        """
        for failed in replaces:
            self.finish(failed, 0)
        if batch in self._done or batch in self.pending:
            return Hold.KNOWN
        if made_at_milliseconds(batch) < oldest_milliseconds:
            return Hold.LATE
        self.keep(batch, entries)
        return Hold.PENDING

    def reserve(
        self, batch: UUID, units: Sequence[Sequence[Entry]], replaces: Iterable[UUID], oldest_milliseconds: int
    ) -> dict[int, Overdraft] | None:
        """Hold the batch as pending without the units that would exceed a cap. Returns the refused units by their
        index.

        A cap limits the posted balance below zero, less all pending debits. A pending batch may still fail, so its
        credits do not count. The same batch again gets the same answer.

        None if the batch is void or posted, or so old that its id may be forgotten.
        """
        for failed in replaces:
            self.finish(failed, 0)
        if batch in self._reserved:
            return self._reserved[batch]
        if batch in self._done or batch in self.pending or made_at_milliseconds(batch) < oldest_milliseconds:
            return None
        refused: dict[int, Overdraft] = {}
        accepted: list[Entry] = []
        nets: Nets = {}
        out: Nets = {}  # the debits of the units before, beside all pending debits
        for number, entries in enumerate(units):
            of_unit = capped_nets(entries, self.policy.caps)
            lowered = falls(of_unit)
            if over := self._overdraft(lowered, out):
                refused[number] = over
                continue
            accepted += entries
            increase(nets, of_unit)
            increase(out, lowered)
        if accepted:
            self._keep(batch, accepted, falls(nets))
            self._reserved[batch] = refused
        return refused

    def _overdraft(self, lowered: Nets, out: Nets) -> Overdraft | None:
        """The first cap that these falls would exceed, on top of `out` and all pending debits."""
        for (bank, currency), fall in lowered.items():
            cap = self.policy.caps[bank][currency]
            posted = self._posted.get(bank, {}).get(currency, 0)
            pending = self._pending_out.get((bank, currency), 0) + out.get((bank, currency), 0)
            if posted + pending + fall < -cap:
                return Overdraft(bank, currency, cap, posted, pending)
        return None

    def is_reserved(self, batch: UUID) -> bool:
        return batch in self._reserved

    def follow(self, policy: Policy) -> None:
        """Decide under this policy. All operations under older policies have ended, and are posted."""
        self.policy = policy
        self._falls, self._pending_out = {}, {}
        for batch, entries in self.pending.items():
            self._count(batch, falls(capped_nets(entries, policy.caps)))

    def _count(self, batch: UUID, lowered: Nets) -> None:
        if lowered:
            self._falls[batch] = lowered
            increase(self._pending_out, lowered)

    def keep(self, batch: UUID, entries: Sequence[Entry]) -> None:
        """Hold the batch as pending with these entries, in place of any entries known before."""
        self._keep(batch, entries, falls(capped_nets(entries, self.policy.caps)))

    def _keep(self, batch: UUID, entries: Sequence[Entry], lowered: Nets) -> None:
        self.drop(batch)
        self.pending[batch] = entries
        add(self._pending_sums, entries)
        self._count(batch, lowered)

    def keep_aside(self, batch: UUID, entries: Sequence[Entry]) -> None:
        """Hold a batch as pending for good, because its row cannot be posted."""
        self.keep(batch, entries)
        self._aside.add(batch)

    def oldest_milliseconds(self) -> int | None:
        """The creation time of the oldest pending batch, without set aside batches (of the Unix epoch); None without a
        batch."""
        return min((made_at_milliseconds(batch) for batch in self.pending if batch not in self._aside), default=None)

    def drop(self, batch: UUID) -> None:
        """Forget a pending batch that is posted or can no longer commit."""
        add(self._pending_sums, self.pending.pop(batch, ()), sign=-1)
        for key, fall in self._falls.pop(batch, {}).items():
            self._pending_out[key] -= fall
        self._reserved.pop(batch, None)
        self._aside.discard(batch)

    def finish(self, batch: UUID, flush: int) -> None:
        """Drop a batch that is void, or posted by a flush that `posted` includes, and remember its id."""
        self.drop(batch)
        self._done[batch] = flush

    def absorb(self, flush: int, batches: Iterable[Posted]) -> None:
        """Move the batches of a flush from pending to posted."""
        for batch in batches:
            self.finish(batch.id, flush)
            add(self._posted, batch.entries)
        self.flush = flush

    def forget(self, oldest_milliseconds: int) -> None:
        """Forget ids of old batches. `hold` rejects these batches by their age."""
        old, young = [], 0
        for batch in self._done:  # about in order of creation
            if made_at_milliseconds(batch) < oldest_milliseconds:
                old.append(batch)
            elif (young := young + 1) > YOUNG_MAX:
                break
        for batch in old:
            del self._done[batch]

    def bank(self, name: str) -> dict[str, tuple[int, int]]:
        """The bank's posted and pending sums, by currency."""
        posted, pending = self._posted.get(name, {}), self._pending_sums.get(name, {})
        return {
            currency: (posted.get(currency, 0), pending.get(currency, 0))
            for currency in sorted(posted.keys() | pending.keys())
        }

    def posted(self, after: str, last: str | None) -> dict[tuple[str, str], int]:
        """By bank and currency, of the banks whose names are after `after`, up to and including `last`."""
        return {
            (bank, currency): amount
            for bank, amounts in self._posted.items()
            if after < bank and (last is None or bank <= last)
            for currency, amount in amounts.items()
        }

    def held(self, currency: str) -> list[tuple[str, int, int]]:
        """Each bank's posted and pending sums in one currency, without Polka itself."""
        return [
            (bank, sums.get(currency, 0), self._pending_sums.get(bank, {}).get(currency, 0))
            for bank, sums in self._posted.items()
            if bank != POLKA and currency in sums
        ] + [
            (bank, 0, sums[currency])
            for bank, sums in self._pending_sums.items()
            if bank != POLKA and currency in sums and currency not in self._posted.get(bank, ())
        ]

    def balances(self) -> dict[str, list[int]]:
        """The posted balances of all banks by currency, without Polka itself."""
        held: dict[str, list[int]] = {}
        for bank, sums in self._posted.items():
            if bank != POLKA:
                for currency, balance in sums.items():
                    held.setdefault(currency, []).append(balance)
        return held

    def largest(self, most: int) -> list[tuple[str, str, int]]:
        """The largest posted balances of banks by absolute value, as bank, currency and balance."""
        balances = (
            (bank, currency, balance)
            for bank, sums in self._posted.items()
            if bank != POLKA
            for currency, balance in sums.items()
        )
        return nlargest(most, balances, key=lambda held: abs(held[2]))

    def uses_of_caps(self) -> dict[str, list[CapUse]]:
        """The use of each cap, by currency: the bank's debt with all pending debits."""
        uses: dict[str, list[CapUse]] = {}
        for bank, caps in self.policy.caps.items():
            held = self._posted.get(bank, {})
            for currency, cap in caps.items():
                balance = held.get(currency, 0) + self._pending_out.get((bank, currency), 0)
                uses.setdefault(currency, []).append(cap_use(bank, cap, balance))
        return uses

    def accounts_pending(self, bank: str) -> dict[str, dict[str, int]]:
        """The pending sums of the bank's accounts, by account and currency."""
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


def increase(sums: Nets, more: Nets) -> None:
    for key, amount in more.items():
        sums[key] = sums.get(key, 0) + amount


def made_at_milliseconds(batch: UUID) -> int:
    """The time in a version 7 id (RFC 9562), in milliseconds of the Unix epoch."""
    return batch.int >> 80
