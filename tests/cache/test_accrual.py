"""What accrues: the cache's statements against a plain reference, and the example in the documentation."""

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.ledger import flush
from cache.ledger.interest import accrue, book, have_rate
from polka.rules.interest import Change, a_minor_unit, amount, changes, entries
from polka.rules.policy import Interest

PAGE = (Path(__file__).parents[2] / "docs" / "interest.md").read_text()
BEGIN = datetime(2026, 2, 27, 9, tzinfo=UTC)
DAY = timedelta(days=1)
Key = tuple[str, str]
Step = tuple[str, timedelta, Any]

keys = st.tuples(st.sampled_from(["bank1", "bank2"]), st.sampled_from(["USD", "GBP"]))
rates = st.builds(Interest, st.integers(0, 100_000), st.integers(0, 100_000))
pauses = st.timedeltas(timedelta(0), timedelta(days=40)) | st.timedeltas(-timedelta(hours=2), timedelta(seconds=1))
steps = st.one_of(
    st.tuples(st.just("post"), pauses, st.tuples(keys, st.integers(-(10**13), 10**13))),
    st.tuples(st.just("rate"), pauses, st.tuples(keys, rates)),
    st.tuples(st.just("close"), pauses, st.none()),
)


class Driver:
    """The statements that the cache runs, at times that a test says."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._connection = self._runner.run(asyncpg.connect(url))

    def close(self) -> None:
        self._runner.run(self._connection.close())
        self._runner.close()

    def booked(self, history: list[Step], begin: datetime = BEGIN) -> list[dict[Key, int]]:
        """What each closing books, by bank and currency."""
        return self._runner.run(self._booked(history, begin))

    async def _booked(self, history: list[Step], now: datetime) -> list[dict[Key, int]]:
        found = []
        undone = self._connection.transaction()
        await undone.start()
        try:
            for step, pause, what in history:
                now += pause
                if step == "post":
                    await self._post(now, *what)
                elif step == "rate":
                    (bank, currency), agreed = what
                    await have_rate(self._connection, Change(bank, currency, now, agreed))
                else:
                    amounts = {key: booked for key, booked in (await book(self._connection, now)).items() if booked}
                    for key, booked in amounts.items():
                        await self._post(now, key, booked)
                    found.append(amounts)
        finally:
            await undone.rollback()
        return found

    async def _post(self, now: datetime, key: Key, paid: int) -> None:
        await accrue(self._connection, now, [key])
        await self._connection.execute(flush.ADD_TO_BALANCES, [key[0]], [key[1]], [paid])


@pytest.fixture(scope="module")
def driver(make_database: Any) -> Iterator[Driver]:
    driver = Driver(make_database())
    yield driver
    driver.close()


def reference(history: list[Step]) -> list[dict[Key, int]]:
    """Piece by piece, each within one day, in fractions of a minor unit, rounded by hand."""
    booked: list[dict[Key, int]] = []
    balances: dict[Key, int] = {}
    in_force: dict[Key, Interest] = {}
    until: dict[Key, datetime] = {}
    accrued: dict[Key, Fraction] = {}

    def stood(key: Key, now: datetime) -> None:
        """Its balance stood until now, at the rates in force."""
        if key not in in_force:
            return
        while until[key] < now:
            midnight = until[key].replace(hour=0, minute=0, second=0, microsecond=0) + DAY
            end = min(midnight, now)
            balance, rate = balances.get(key, 0), in_force[key]
            basis_points = rate.credit_basis_points if balance > 0 else rate.debit_basis_points
            days = Fraction((end - until[key]) // timedelta(microseconds=1), DAY // timedelta(microseconds=1))
            year = 365 if key[1] == "GBP" else 360
            accrued[key] = accrued.get(key, Fraction(0)) + balance * Fraction(basis_points, 10_000) * days / year
            until[key] = end

    now = BEGIN
    for step, pause, what in history:
        now += pause
        if step == "close":
            for key in in_force:
                stood(key, now)
            amounts = {key: interest for key, exact in accrued.items() if (interest := half_even(exact))}
            for key, interest in amounts.items():
                balances[key] = balances.get(key, 0) + interest
            accrued.clear()
            booked.append(amounts)
            continue
        key = what[0]
        stood(key, now)
        if step == "post":
            balances[key] = balances.get(key, 0) + what[1]
        else:
            in_force[key] = what[1]
            until.setdefault(key, now)
    return booked


def half_even(exact: Fraction) -> int:
    lower = exact.numerator // exact.denominator
    above = exact - lower
    return lower if above < Fraction(1, 2) or (above == Fraction(1, 2) and lower % 2 == 0) else lower + 1


@settings(max_examples=150)
@given(history=st.lists(steps, max_size=12))
def test_interest_is_that_of_a_plain_reference_which_goes_piece_by_piece(driver: Driver, history: list[Step]) -> None:
    """Whatever is posted, agreed and closed, and where the clock goes back."""
    history = [*history, ("close", timedelta(hours=5), None)]
    assert driver.booked(history) == reference(history)


@given(st.sampled_from(["USD", "GBP"]), st.integers(0, 10**40), st.integers(0, 10**40))
def test_what_has_accrued_is_rounded_once_half_to_even(currency: str, debit: int, credit: int) -> None:
    year = {"USD": 360, "GBP": 365}[currency]
    assert amount(currency, debit, credit) == half_even(Fraction(credit - debit, 10_000 * year * 86_400 * 10**6))


def test_banks_entries_and_polkas_sum_to_zero() -> None:
    amounts = {("bank1", "USD"): 5, ("bank2", "USD"): -7, ("bank2", "EUR"): 0}
    booked = entries(amounts)
    assert booked == [
        ("bank1", "polka:interest", "USD", 5),
        ("polka", "interest", "USD", -5),
        ("bank2", "polka:interest", "USD", -7),
        ("polka", "interest", "USD", 7),
    ]


def test_only_what_differs_changes_a_rate() -> None:
    known = {("bank1", "USD"): Interest(800, 250), ("bank1", "EUR"): Interest(1, 1)}
    first, second = BEGIN, BEGIN + DAY
    versions = [
        ("bank1", first, {"USD": Interest(800, 250), "GBP": Interest(7, 0)}),
        ("bank2", first, {}),
        ("bank1", second, {"USD": Interest(900, 250), "GBP": Interest(7, 0)}),
    ]
    assert changes(known, versions) == [
        Change("bank1", "EUR", first, Interest(0, 0)),
        Change("bank1", "GBP", first, Interest(7, 0)),
        Change("bank1", "USD", second, Interest(900, 250)),
    ]


def table(heading: str) -> list[list[str]]:
    """The rows of the table of the page that begins with this column."""
    lines = PAGE[PAGE.index(f"| {heading} ") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines[2:]]


def number(text: str) -> int:
    return int(text.replace(",", ""))


def bold(pattern: str) -> int:
    [found] = re.findall(pattern + r"\*\*(-?[\d,]+)\*\*", " ".join(PAGE.split()))
    return number(found)


def shown(exact: Fraction) -> str:
    """As the page has it: what is more than six digits after the point is cut off."""
    whole, rest = divmod(abs(exact) * 10**6, 1)
    digits = str(Decimal(int(whole)).scaleb(-6).normalize())
    return ("-" if exact < 0 else "") + digits + ("…" if rest else "")


@pytest.mark.parametrize(
    ("currency", "days", "result"), [("USD", 360, "rounded "), ("GBP", 365, "the year has 365 days: ")]
)
def test_the_example_in_the_documentation_is_what_is_booked(
    driver: Driver, currency: str, days: int, result: str
) -> None:
    key, balance, exact, pause = ("bank1", currency), 0, Fraction(0), timedelta(0)
    history: list[Step] = []
    rows = table("From")
    for began, ended, stands, basis_points, hours, interest in rows:
        debit = number(basis_points) if stands.startswith("-") else 800
        history.append(("rate", pause, (key, Interest(debit, 250))))
        history.append(("post", timedelta(0), (key, number(stands) - balance)))
        balance, pause = number(stands), at(ended) - at(began)
        assert pause == timedelta(hours=float(hours))
        own = Fraction(balance * number(basis_points), 10_000) * Fraction(hours) / 24
        assert interest == shown(own / 360).rstrip()
        exact += own / days
    assert [row[0] for row in rows[1:]] == [row[1] for row in rows[:-1]]
    history.append(("close", pause, None))
    assert shown(exact) in PAGE
    assert driver.booked(history, at(rows[0][0])) == [{key: bold(result)}]
    assert half_even(exact) == bold(result)
    assert bold("net of its window is ") == balance + bold("rounded ")


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


def test_halves_in_the_documentation_are_rounded_so() -> None:
    for accrued, interest in table("Accrued"):
        exact = Fraction(accrued) * a_minor_unit("USD")
        assert exact.denominator == 1
        assert amount("USD", max(-int(exact), 0), max(int(exact), 0)) == number(interest)
