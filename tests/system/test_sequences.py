"""Any sequence of payments, deletions, amendments, fees, rates and windows: every sum is what plain books say.

The plain books are kept here with fractions and one line a movement, and know nothing of entries, batches or totals.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any, TypeVar

import asyncpg
import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from api.posting import commits
from api.posting.batches import Batch, Pending
from api.posting.generations import Generations
from api.posting.operations import Bulk, Change, Operation, Parts, Pay
from cache.clearing import windows
from cache.ledger import flush
from cache.ledger.ledger import Posted
from committed import new_id
from polka.rules.policy import Agreed, Fee, Policy, Terms
from polka.rules.rates import Rates, Source, StoredRates, converted
from polka.rules.transactions import Amendment, Party, PartyAmendment, Payment, Transaction, amended
from polka.rules.windows import SETTLED_BY_POLKA, settlement_entries
from polka.store import bank_terms, rate_sets
from proof import prove

BANKS = ["bank1", "bank2", "bank3"]
DIGITS = {"EUR": 2, "USD": 2, "JPY": 0, "KWD": 3}
AT = datetime(2026, 11, 24, tzinfo=UTC)
DAY = date(2026, 11, 24)
RATES = {"USD": Decimal("1.1172"), "JPY": Decimal("175.68"), "KWD": Decimal("0.3312")}

parties = st.builds(Party, st.sampled_from(BANKS), st.sampled_from(["A1", "B1"]))
currencies = st.sampled_from(list(DIGITS))
amounts = st.integers(1, 10**4) | st.integers(1, 10**15)


@dataclass(frozen=True)
class Paid:
    """One payment, or several in one request."""

    payments: Sequence[Payment]


@dataclass(frozen=True)
class Deleted:
    payment: int


@dataclass(frozen=True)
class Amended:
    payment: int
    sender: Party
    receiver: Party


@dataclass(frozen=True)
class FeeAgreed:
    bank: str
    currency: str
    fee: Fee | None


@dataclass(frozen=True)
class RatesStored:
    of_euro: dict[str, Decimal]


@dataclass(frozen=True)
class Closed:
    """The open window; `settles` says whether the oldest one that is closed is settled then."""

    settles: bool


payments = st.builds(Payment, parties, parties, amounts, currencies, st.none(), currencies).filter(
    lambda payment: payment.sender != payment.receiver
)
rates = st.fixed_dictionaries(
    {currency: st.decimals("0.0001", "20000", places=4) for currency in DIGITS if currency != "EUR"}
)
fees = st.none() | st.builds(
    lambda fixed, points, minimum, more: Fee(fixed, points, minimum, None if more is None else minimum + more),
    *(st.integers(0, 500), st.integers(0, 10_000), st.integers(0, 100), st.none() | st.integers(0, 10**4)),
)
events = st.lists(
    st.builds(Paid, st.lists(payments, min_size=1, max_size=3))
    | st.builds(Deleted, st.integers(0, 20))
    | st.builds(Amended, st.integers(0, 20), parties, parties)
    | st.builds(FeeAgreed, st.sampled_from(BANKS), currencies, fees)
    | st.builds(RatesStored, rates)
    | st.builds(Closed, st.booleans()),
    max_size=30,
)
Events = list[Paid | Deleted | Amended | FeeAgreed | RatesStored | Closed]


@dataclass
class Plain:
    """The plain books: who has what in which window, and what is agreed."""

    rates: dict[str, Decimal] = field(default_factory=dict)
    lines: list[tuple[int, str, str, str, int]] = field(default_factory=list)
    """Window, bank, account, currency and amount."""
    fees: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    agreed: dict[tuple[str, str], Fee] = field(default_factory=dict)
    window: int = 1
    """The open one."""

    def book(self, made: "PlainPayment", sign: int) -> None:
        sender, receiver = (made.sender.bank, made.sender.account), (made.receiver.bank, made.receiver.account)
        if made.received is None:
            self.move(sender, receiver, made.currency, sign * made.amount)
        else:
            self.move(sender, ("polka", "conversion"), made.currency, sign * made.amount)
            currency, amount = made.received
            self.move(("polka", "conversion"), receiver, currency, sign * amount)
        self.move(sender, ("polka", "fees"), made.currency, sign * made.fee)
        self.fees[self.window, made.sender.bank, made.currency] += sign * made.fee

    def move(self, payer: tuple[str, str], payee: tuple[str, str], currency: str, amount: int) -> None:
        self.lines += [(self.window, *payer, currency, -amount), (self.window, *payee, currency, amount)]

    def worth(self, amount: int, source: str, target: str) -> int:
        euros = Fraction(amount, 10 ** DIGITS[source]) / Fraction(self.rates.get(source, 1))
        worth: int = floor(euros * Fraction(self.rates.get(target, 1)) * 10 ** DIGITS[target])
        return worth

    def fee(self, bank: str, currency: str, amount: int) -> int:
        fee = self.agreed.get((bank, currency))
        if fee is None:
            return 0
        exact = nearest(fee.fixed + amount * Fraction(fee.basis_points, 10_000))
        return sorted((fee.minimum, exact, 10**15 if fee.maximum is None else fee.maximum))[1]

    def sums(self, *columns: int, settled: int = 0) -> Counter[tuple[Any, ...]]:
        """The lines of the windows after those that are settled, summed up by these columns; without those of 0."""
        found: Counter[tuple[Any, ...]] = Counter()
        for line in self.lines:
            if line[0] > settled:
                found[tuple(line[column] for column in columns)] += line[4]
        return not_zero(found)


@dataclass(frozen=True)
class PlainPayment:
    sender: Party
    receiver: Party
    amount: int
    currency: str
    received: tuple[str, int] | None
    fee: int


def nearest(exact: Fraction) -> int:
    """The whole number next to it, of two the even one."""
    below = exact.numerator // exact.denominator
    return min((below, below + 1), key=lambda whole: (abs(exact - whole), whole % 2))


Key = TypeVar("Key")


def not_zero(sums: Mapping[Key, int]) -> Counter[Key]:
    return Counter({key: amount for key, amount in sums.items() if amount})


@dataclass(frozen=True)
class Commit:
    operation: Operation
    decided: Operation
    policy: Policy


class Taken:
    """The events as Polka takes them, by the rules of the api, which does nothing where it would refuse."""

    def __init__(self, events: Events) -> None:
        self.steps: list[Commit | FeeAgreed | RatesStored | Closed] = []
        self.plain = Plain()
        self.settled = 0
        self._policy = Policy(0)
        self._made: list[tuple[Transaction, PlainPayment]] = []
        self._store(RatesStored(RATES))
        for event in events:
            match event:
                case Paid():
                    self._pay(event)
                case Deleted() | Amended():
                    if self._made:
                        self._change(event)
                case FeeAgreed():
                    self._agree(event)
                case RatesStored():
                    self._store(event)
                case Closed():
                    self._close(event)

    def _pay(self, paid: Paid) -> None:
        pays, plain_ones = [], []
        for payment in paid.payments:
            received, plain = None, None
            if payment.crosses:
                target = str(payment.receiver_currency)
                received = converted(payment.amount, payment.currency, target, self._stored)
                plain = (target, self.plain.worth(payment.amount, payment.currency, target))
                if not 0 < received.amount <= 10**15:
                    continue
            pays.append(Pay(payment, received))
            fee = self.plain.fee(payment.sender.bank, payment.currency, payment.amount)
            plain_ones.append(
                PlainPayment(payment.sender, payment.receiver, payment.amount, payment.currency, plain, fee)
            )
        if pays:
            operation = pays[0] if len(pays) == 1 else Bulk(pays, "")
            result = self._commit(operation)
            results = [result] if isinstance(result, Transaction) else result
            for made, plain_one in zip(results, plain_ones, strict=True):
                self.plain.book(plain_one, 1)
                self._made.append((made, plain_one))

    def _change(self, event: Deleted | Amended) -> None:
        place = event.payment % len(self._made)
        old, was = self._made[place]
        if isinstance(event, Amended) and event.sender == event.receiver:
            return
        self.plain.book(was, -1)
        if isinstance(event, Deleted):
            del self._made[place]
            self._commit(Change(old, msgspec.structs.replace(old, status="deleted"), "", "me", None))
            return
        sender, receiver = (PartyAmendment(party.bank, party.account) for party in (event.sender, event.receiver))
        new = self._commit(Change(old, amended(old, Amendment(sender, receiver)), "", "me", None))
        fee = self.plain.fee(event.sender.bank, was.currency, was.amount)
        plain = replace(was, sender=event.sender, receiver=event.receiver, fee=fee)
        self.plain.book(plain, 1)
        self._made[place] = (new, plain)

    def _commit(self, operation: Operation) -> Any:
        decided = operation.under(self._policy)
        assert isinstance(decided, Operation)
        self.steps.append(Commit(operation, decided, self._policy))
        return decided.result(str(new_id()), AT)

    def _agree(self, event: FeeAgreed) -> None:
        agreed = self._policy.agreed(event.bank)
        of_bank = {**agreed.terms.fees, event.currency: event.fee}
        terms = Terms(fees={currency: fee for currency, fee in of_bank.items() if fee})
        version = self._policy.version + 1
        self._policy = Policy(version, {**self._policy.banks, event.bank: Agreed(terms, version, AT)})
        if event.fee:
            self.plain.agreed[event.bank, event.currency] = event.fee
        else:
            self.plain.agreed.pop((event.bank, event.currency), None)
        self.steps.append(event)

    def _store(self, event: RatesStored) -> None:
        version = sum(isinstance(step, RatesStored) for step in self.steps) + 1
        self._stored = StoredRates(Rates(DAY, event.of_euro), version, Source.FETCHED, AT)
        self.plain.rates = event.of_euro
        self.steps.append(event)

    def _close(self, event: Closed) -> None:
        self.plain.window += 1
        self.settled += event.settles
        self.steps.append(event)


SEQUENCE: Events = [
    Paid([Payment(Party("bank1", "A1"), Party("bank2", "B1"), 1_250, "EUR", None, "USD")]),
    FeeAgreed("bank1", "EUR", Fee(25, 10)),
    Paid([Payment(Party("bank1", "A1"), Party("bank2", "B1"), 500, "EUR", None, "JPY")]),
    Closed(settles=True),
    Amended(1, Party("bank2", "A1"), Party("bank1", "A1")),
    Deleted(0),
    Closed(settles=False),
    Closed(settles=True),
]


@given(events)
@example(SEQUENCE)
def test_every_sum_of_any_sequence_is_what_plain_books_say(events: Events) -> None:
    taken = Taken(events)
    plain = taken.plain
    posted: list[list[Posted]] = [[]]
    for step in taken.steps:
        if isinstance(step, Closed):
            posted.append([])
        elif isinstance(step, Commit):
            parts = Parts()
            step.decided.add_to(parts, None, "")
            posted[-1].append(Posted(new_id(), parts.entries))
    balances: Counter[tuple[str, str, str]] = Counter()
    for number, batches in enumerate(posted, 1):
        assert all(flush.is_balanced(batch.entries) for batch in batches)
        accounts = flush.totals_by_account(entry for batch in batches for entry in batch.entries)
        banks = flush.totals_by_bank(accounts)
        nets = {key: credits - debits for key, (debits, credits, _) in banks.items()}
        assert not_zero(nets) == {key[1:]: net for key, net in plain.sums(0, 1, 3).items() if key[0] == number}
        paid = flush.fees_by_bank(accounts, batches)
        assert not_zero(paid) == {key[1:]: fee for key, fee in not_zero(plain.fees).items() if key[0] == number}
        if number <= taken.settled:
            rows: Iterable[Any] = ((*key, net) for key, net in nets.items())
            batches.append(Posted(new_id(), settlement_entries(rows)))
        for batch in batches:
            for bank, account, currency, amount in batch.entries:
                balances[bank, account, currency] += amount
    check_balances(balances, plain, taken.settled)


def check_balances(balances: Counter[tuple[str, str, str]], plain: Plain, settled: int) -> None:
    """Accounts have what the plain books say, banks the nets of windows that are not settled; all sums to zero."""
    own = {key: amount for key, amount in not_zero(balances).items() if key[1] not in (SETTLED_BY_POLKA, "settlement")}
    assert own == plain.sums(1, 2, 3)
    banks: Counter[tuple[str, str]] = Counter()
    sums: Counter[str] = Counter()
    for (bank, _, currency), amount in balances.items():
        banks[bank, currency] += amount
        sums[currency] += amount
    assert not_zero(banks) == plain.sums(1, 3, settled=settled)
    assert not not_zero(sums)
    assert not any(balances["polka", "settlement", currency] for currency in DIGITS)


@given(events=events)
@example(events=SEQUENCE)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_the_database_has_every_sum_of_any_sequence(make_database: Callable[[], str], events: Events) -> None:
    """As the api's statements commit it, and the cache's post, close and settle it. The audit finds nothing."""
    taken = Taken(events)
    url = make_database()
    balances, nets, paid = asyncio.run(done(url, taken))
    check_balances(balances, taken.plain, taken.settled)
    assert nets == taken.plain.sums(0, 1, 3)
    assert paid == not_zero(taken.plain.fees)
    prove(url)


async def done(url: str, taken: Taken) -> tuple[Any, Any, Any]:
    """Do it all; then balances by account, and nets and fees by window."""
    connection = await asyncpg.connect(url)
    try:
        number, window, settled, committed = 0, 1, 0, 0
        policy, generations = Policy(0), Generations()
        await connection.execute("TRUNCATE rates, rate_sets")
        for step in [*taken.steps, None]:
            match step:
                case Commit(operation, decided, decided_under):
                    assert decided_under.version == policy.version
                    batch = Batch([Pending(operation, None, "", decided, decided_under)])
                    await commits.commit(connection, batch, await generations.present(connection))
                    if (committed := committed + 1) % 3 == 0:
                        number = (await flush.flush(connection, 0, number + 1, 1_000)).number
                case FeeAgreed(bank, currency, fee):
                    agreed = policy.agreed(bank)
                    fees = {**agreed.terms.fees, currency: fee}
                    terms = Terms(fees={code: one for code, one in fees.items() if one})
                    await bank_terms.change(connection, bank, agreed, terms, "me")
                    policy = await bank_terms.newest(connection, policy)
                case RatesStored(of_euro):
                    await rate_sets.store(connection, Rates(DAY, of_euro), Source.FETCHED)
                case Closed(settles):
                    number = (await flush.flush(connection, 0, number + 1, 1_000)).number
                    assert isinstance(await windows.close(connection, 0, window, number + 1, new_id()), windows.Done)
                    window += 1
                    if settles:
                        settled += 1
                        outcome = await windows.settle(connection, 0, settled, number + 1, new_id())
                        assert isinstance(outcome, windows.Done)
                        number += outcome.flushed is not None
                case None:
                    await flush.flush(connection, 0, number + 1, 1_000)
        return (
            Counter({tuple(row[:3]): int(row[3]) for row in await connection.fetch(ACCOUNTS)}),
            not_zero(Counter({tuple(row[:3]): int(row[3]) for row in await connection.fetch(NETS)})),
            not_zero(Counter({tuple(row[:3]): int(row[3]) for row in await connection.fetch(FEES)})),
        )
    finally:
        await connection.close()


ACCOUNTS = "SELECT bank, account, currency, balance FROM accounts"
NETS = "SELECT window_id, bank, currency, credits - debits FROM window_totals"
FEES = "SELECT window_id, bank, currency, fees FROM window_totals"
