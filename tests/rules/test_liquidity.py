"""Figures of liquidity: samples, the highest of a day, concentration, and the use of caps."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cache.ledger.ledger import Ledger
from committed import new_id, transfer
from polka.rules.liquidity import (
    CapUse,
    Concentration,
    Figures,
    Resolution,
    Sample,
    cap_use,
    concentration,
    highest_within,
    nearest,
    sampled,
    start_of,
)
from polka.rules.policy import Agreed, Policy, Terms

MIDNIGHT = datetime(2026, 11, 24, tzinfo=UTC)
LENGTHS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}

steps = st.lists(
    st.tuples(
        st.one_of(st.integers(1, 90), st.integers(1, 7_200), st.integers(1, 200_000), st.just(3_600), st.just(86_400)),
        st.integers(0, 100),
    ),
    min_size=1,
    max_size=12,
)
"""Seconds since the flush before, and what Polka is owed then."""

Levels = list[tuple[datetime, int]]


def levels_of(steps: Iterable[tuple[int, int]]) -> Levels:
    """What Polka was owed, each with the time since when."""
    at, levels = MIDNIGHT - timedelta(seconds=30), []
    for seconds, owed in steps:
        at += timedelta(seconds=seconds)
        levels.append((at, owed))
    return levels


def highest_of(levels: Levels, start: datetime, end: datetime) -> tuple[int, datetime]:
    """Of all that it was from start until before end, the highest, and when it was that first."""
    carried = [(start, owed) for at, owed in levels if at <= start][-1:]
    within = carried + [(at, owed) for at, owed in levels if start < at < end]
    highest = max(owed for _, owed in within)
    return highest, min(at for at, owed in within if owed == highest)


@given(steps, st.sampled_from(["minute", "hour", "day"]))
def test_a_sample_has_the_highest_of_all_that_was_in_its_span(
    steps: list[tuple[int, int]], resolution: Resolution
) -> None:
    levels = levels_of(steps)
    newest, made = None, {}
    for number, (at, owed) in enumerate(levels):
        newest = sampled(resolution, newest, Figures(owed, owed, number), at, number)
        made[newest.start] = newest
    for start, sample in made.items():
        end = start + LENGTHS[resolution]
        last = max(at for at, _ in levels if at < end)
        assert (sample.highest.owed, sample.highest.at) == highest_of(levels, start, end)
        assert sample.last.owed == dict(levels)[last]
        assert (sample.at, sample.flush) == (last, [at for at, _ in levels].index(last))
        assert levels[sample.highest.flush][1] == sample.highest.owed
    assert made.keys() == {start_of(resolution, at) for at, _ in levels}


@given(steps, st.integers(0, 300_000))
def test_the_highest_of_today_is_over_all_since_midnight(steps: list[tuple[int, int]], later: int) -> None:
    levels = levels_of(steps)
    newest = None
    for number, (at, owed) in enumerate(levels):
        newest = sampled("day", newest, Figures(0, owed, 0), at, number)
    assert newest
    now = levels[-1][0] + timedelta(seconds=later)
    found = highest_within(start_of("day", now), newest)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    assert (found.owed, found.at) == highest_of(levels, midnight, now + timedelta(microseconds=1))


def test_a_clock_that_is_set_back_takes_no_sample_with_it() -> None:
    first = sampled("minute", None, Figures(0, 5, 0), MIDNIGHT + timedelta(seconds=90), 1)
    second = sampled("minute", first, Figures(0, 3, 0), MIDNIGHT, 2)
    assert second == Sample(first.start, Figures(0, 3, 0), first.at, 2, first.highest)


@given(st.lists(st.integers(-(10**15), 10**15)))
def test_concentration_is_the_share_of_the_largest_five(balances: list[int]) -> None:
    debts = sorted((-balance for balance in balances if balance < 0), reverse=True)
    claims = sorted((balance for balance in balances if balance > 0), reverse=True)
    for found, amounts in zip(
        (concentration(balances).debtors, concentration(balances).creditors), (debts, claims), strict=True
    ):
        if not amounts:
            assert found is None
        else:
            assert found is not None
            assert abs(found * sum(amounts) - 10_000 * sum(amounts[:5])) * 2 <= sum(amounts)


def test_an_even_spread_is_not_concentrated() -> None:
    assert concentration([-1] * 20 + [20]) == Concentration(debtors=2_500, creditors=10_000)
    assert concentration([]) == Concentration(None, None)


def test_the_use_of_a_cap_counts_what_is_pending_out_and_nothing_that_comes_in() -> None:
    ledger = Ledger({"bank1": {"USD": -600}, "bank2": {"USD": 100}}, 1, {})
    banks = {name: Agreed(Terms(caps={"USD": cap}), 1, None) for name, cap in (("bank1", 1_000), ("bank2", 50))}
    ledger.follow(Policy(1, banks))
    ledger.keep(new_id(), transfer(150, "bank1", "bank2"))
    ledger.keep(new_id(), transfer(300, "bank2", "bank1"))
    assert ledger.uses_of_caps() == {"USD": [CapUse("bank1", 1_000, 750, 7_500), CapUse("bank2", 50, 200, 40_000)]}


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(-60, 60)), max_size=12), st.integers(0, 12))
def test_the_nearest_to_their_caps_come_first(banks: list[tuple[int, int]], most: int) -> None:
    uses = [cap_use(f"bank{n}", cap, balance) for n, (cap, balance) in enumerate(banks)]
    found = nearest(uses, most)
    assert len(found) == min(most, len(uses))
    left = [use for use in uses if use not in found]
    assert all(a.basis_points >= b.basis_points for a, b in pairwise([*found, *left[:1]]))
    assert all(last.basis_points >= other.basis_points for last in found[-1:] for other in left)
    for use, (cap, balance) in zip(uses, banks, strict=True):
        assert (use.used, use.cap) == (max(0, -balance), cap)
        assert use.basis_points >= 10_000 or use.used < cap or cap == use.used == 0
