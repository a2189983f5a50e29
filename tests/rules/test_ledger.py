"""The ledger in memory, against a second implementation so plain that one can see that it is right."""

from collections import Counter
from itertools import product
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cache.ledger.ledger import Hold, Ledger, Posted, made_at_milliseconds
from polka.rules.policy import Agreed, Policy, Terms
from polka.rules.transactions import Entry

NOW = 1_000_000
BANKS = ["a", "b", "c"]
CURRENCIES = ["EUR", "USD"]
POSITIONS = list(product(BANKS, CURRENCIES))
WAYS = list(product(BANKS, BANKS, CURRENCIES))
AMOUNT_MAX = 10**15
"""Each pair and each transfer is one draw: Hypothesis takes most of its time for the number of draws."""


def id_at(milliseconds: int, number: int) -> UUID:
    return UUID(int=milliseconds << 80 | 7 << 76 | number)


def entries() -> st.SearchStrategy[list[Entry]]:
    """One to four transfers. Each is a number that stands for a way and an amount."""
    numbers = st.integers(0, len(WAYS) * AMOUNT_MAX - 1)
    return st.lists(numbers, min_size=1, max_size=4).map(lambda drawn: [entry for one in drawn for entry in pair(one)])


def pair(number: int) -> tuple[Entry, Entry]:
    amount, way = divmod(number, len(WAYS))
    sender, receiver, currency = WAYS[way]
    return (sender, "X", currency, -amount - 1), (receiver, "Y", currency, amount + 1)


class Plain:
    """Keeps every batch with its state, and adds all of them up each time that it is asked."""

    def __init__(self) -> None:
        self.batches: dict[UUID, tuple[str, list[Entry]]] = {}

    def sum(self, state: str, bank: str, currency: str) -> int:
        return sum(
            amount
            for is_state, entries in self.batches.values()
            for owner, _, unit, amount in entries
            if is_state == state and (owner, unit) == (bank, currency)
        )

    def free(self, caps: dict[tuple[str, str], int], taken: list[Entry]) -> dict[tuple[str, str], int]:
        """What each capped bank may still pay, beside what is taken: what is pending counts where it lowers it."""
        free = {}
        for (bank, currency), cap in caps.items():
            out = sum(
                min(0, sum(amount for owner, _, unit, amount in entries if (owner, unit) == (bank, currency)))
                for state, entries in self.batches.values()
                if state == "pending"
            )
            out += sum(amount for owner, _, unit, amount in taken if (owner, unit) == (bank, currency))
            free[bank, currency] = cap + self.sum("posted", bank, currency) + out
        return free


def falls_of(entries: list[Entry], caps: dict[tuple[str, str], int]) -> list[Entry]:
    """By how much the entries together lower each capped bank, as entries."""
    nets: Counter[tuple[str, str]] = Counter()
    for bank, _, currency, amount in entries:
        nets[bank, currency] += amount
    return [(bank, "", unit, net) for (bank, unit), net in nets.items() if net < 0 and (bank, unit) in caps]


capped = st.dictionaries(st.sampled_from(POSITIONS), st.integers(0, 3 * 10**15))


class LedgerMachine(RuleBasedStateMachine):
    """Batches are told, reserved, replaced, posted, voided and set aside in any order, each message any number of
    times, and caps change."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger({}, 0, {})
        self.caps: dict[tuple[str, str], int] = {}
        self.answers: dict[UUID, set[int]] = {}
        self.plain = Plain()
        self.ids: list[UUID] = []

    def pick(self, number: int) -> UUID | None:
        return self.ids[number % len(self.ids)] if self.ids else None

    @rule(entries=entries(), replaced=st.none() | st.integers(0, 99))
    def tell(self, entries: list[Entry], replaced: int | None) -> None:
        batch = id_at(NOW, len(self.ids))
        old = self.pick(replaced) if replaced is not None else None
        self.ids.append(batch)
        if old and self.plain.batches.get(old, ("", []))[0] == "pending":
            self.plain.batches[old] = ("gone", [])
        assert self.ledger.hold(batch, entries, [old] if old else [], NOW) is Hold.PENDING
        self.plain.batches[batch] = ("pending", entries)

    @rule(number=st.integers(0, 99), entries=entries())
    def tell_again(self, number: int, entries: list[Entry]) -> None:
        """Also of a batch that another one has replaced: this message was overtaken."""
        batch = self.pick(number)
        if batch is None or self.plain.batches[batch][0] == "refused":
            return
        assert self.ledger.hold(batch, entries, [], NOW) is Hold.KNOWN

    @rule(caps=capped)
    def follow(self, caps: dict[tuple[str, str], int]) -> None:
        terms: dict[str, dict[str, int]] = {}
        for (bank, currency), cap in caps.items():
            terms.setdefault(bank, {})[currency] = cap
        version = self.ledger.policy.version + 1
        self.ledger.follow(Policy(version, {bank: Agreed(Terms(own), 1, None) for bank, own in terms.items()}))
        self.caps = caps

    @rule(units=st.lists(entries(), min_size=1, max_size=4), replaced=st.none() | st.integers(0, 99))
    def reserve(self, units: list[list[Entry]], replaced: int | None) -> None:
        batch = id_at(NOW, len(self.ids))
        old = self.pick(replaced) if replaced is not None else None
        self.ids.append(batch)
        if old and self.plain.batches.get(old, ("", []))[0] == "pending":
            self.plain.batches[old] = ("gone", [])
        refused = self.ledger.reserve(batch, units, [old] if old else [], NOW)
        assert refused is not None
        taken: list[Entry] = []
        accepted: list[Entry] = []
        for number, unit in enumerate(units):
            falls = falls_of(unit, self.caps)
            free = self.plain.free(self.caps, taken)
            fits = all(free[bank, currency] + amount >= 0 for bank, _, currency, amount in falls)
            assert fits == (number not in refused)
            if fits:
                taken += falls
                accepted += unit
            else:
                over = refused[number]
                assert over.cap == self.caps[over.bank, over.currency]
                assert over.balance == self.plain.sum("posted", over.bank, over.currency)
                assert over.cap + over.balance + over.pending == free[over.bank, over.currency]
        self.plain.batches[batch] = ("pending", accepted) if accepted else ("refused", [])
        self.answers[batch] = set(refused)

    @rule(number=st.integers(0, 99), units=st.lists(entries(), min_size=1, max_size=4))
    def reserve_again(self, number: int, units: list[list[Entry]]) -> None:
        """The same id gives the same answer as long as it is pending, and none once it is not."""
        batch = self.pick(number)
        state = self.plain.batches[batch][0] if batch else "refused"
        if batch is None or state == "refused":
            return
        again = self.ledger.reserve(batch, units, [], NOW)
        if state == "pending" and batch in self.answers:
            assert again is not None
            assert set(again) == self.answers[batch]
        else:
            assert again is None

    @rule(numbers=st.lists(st.integers(0, 99), max_size=4), unheard=entries())
    def flush(self, numbers: list[int], unheard: list[Entry]) -> None:
        """Posts some that are pending, and one that the ledger never heard of."""
        chosen = {self.pick(number) for number in numbers} - {None}
        posted = [
            Posted(batch, self.plain.batches[batch][1])
            for batch in chosen
            if batch and self.plain.batches[batch][0] == "pending"
        ]
        new = id_at(NOW, len(self.ids))
        self.ids.append(new)
        posted.append(Posted(new, unheard))
        self.ledger.absorb(self.ledger.flush + 1, posted)
        for batch in posted:
            self.plain.batches[batch.id] = ("posted", list(batch.entries))

    @rule(number=st.integers(0, 99))
    def void(self, number: int) -> None:
        batch = self.pick(number)
        if batch and self.plain.batches[batch][0] == "pending":
            self.ledger.finish(batch, 0)
            self.plain.batches[batch] = ("void", [])

    @invariant()
    def positions_are_the_sums_of_their_entries(self) -> None:
        for bank in BANKS:
            held = self.ledger.bank(bank)
            for currency in CURRENCIES:
                posted, pending = held.get(currency, (0, 0))
                assert posted == self.plain.sum("posted", bank, currency)
                assert pending == self.plain.sum("pending", bank, currency)

    @invariant()
    def accounts_pending_sum_to_their_banks_pending(self) -> None:
        for bank in BANKS:
            sums: Counter[str] = Counter()
            for held in self.ledger.accounts_pending(bank).values():
                for currency, amount in held.items():
                    sums[currency] += amount
            for currency in CURRENCIES:
                assert sums[currency] == self.ledger.bank(bank).get(currency, (0, 0))[1]


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=30)


@given(entries(), entries())
def test_a_batch_that_was_posted_is_not_held_again(first: list[Entry], late: list[Entry]) -> None:
    ledger = Ledger({}, 0, {})
    batch = id_at(NOW, 1)
    ledger.absorb(1, [Posted(batch, first)])
    before = {bank: ledger.bank(bank) for bank in BANKS}
    assert ledger.hold(batch, late, [], NOW) is Hold.KNOWN
    assert {bank: ledger.bank(bank) for bank in BANKS} == before


def test_a_batch_older_than_what_is_remembered_is_not_held() -> None:
    ledger = Ledger({}, 0, {})
    old, young = id_at(NOW - 1, 1), id_at(NOW, 2)
    ledger.absorb(1, [Posted(old, [("a", "X", "EUR", -1), ("b", "Y", "EUR", 1)])])
    ledger.absorb(2, [Posted(young, [("a", "X", "EUR", -1), ("b", "Y", "EUR", 1)])])
    ledger.forget(NOW)
    assert ledger.hold(old, [("a", "X", "EUR", -1)], [], NOW) is Hold.LATE
    assert ledger.hold(young, [("a", "X", "EUR", -1)], [], NOW) is Hold.KNOWN
    assert ledger.bank("a") == {"EUR": (-2, 0)}


def test_an_id_says_when_it_was_made() -> None:
    assert made_at_milliseconds(UUID("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")) == 0x017F22E279B0  # RFC 9562, A.6


def test_no_room_is_reserved_for_a_batch_older_than_what_is_remembered() -> None:
    ledger = Ledger({}, 0, {})
    assert ledger.reserve(id_at(NOW - 1, 1), [[("a", "X", "EUR", -1)]], [], NOW) is None
    assert ledger.bank("a") == {}
