"""Liquidity: debts to banks, debts of banks and money of Polka in each currency, and their maxima over time. Pure.

Figures change at flushes alone and stay in between. The highest of a span covers all figures in the span, the figures
at its beginning included.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from heapq import nlargest, nsmallest
from typing import Annotated, Literal, get_args

import msgspec

from polka.rules.banks import AsOf
from polka.rules.formats import Time
from polka.rules.pages import OLDER_CURSOR
from polka.rules.policy import BASIS_POINTS

LARGEST = 5
"""Number of banks for the concentration: their share in the whole."""
Resolution = Literal["flush", "minute", "hour", "day"]
RESOLUTIONS: tuple[Resolution, ...] = get_args(Resolution)
KEPT: Mapping[Resolution, timedelta] = {
    "flush": timedelta(hours=1),
    "minute": timedelta(days=2),
    "hour": timedelta(days=92),
}
"""The time for which samples are kept. Samples of days are kept for ever."""


class Figures(msgspec.Struct, frozen=True):
    """Minor units of a currency: debts of Polka to banks, debts of banks to Polka, and money of Polka."""

    owes: int
    owed: int
    held: int


class Highest(msgspec.Struct, frozen=True):
    """The highest debt of banks to Polka, its time, and its flush."""

    owed: int
    at: Time
    flush: int


class Sample(msgspec.Struct, frozen=True):
    """A span of time in a currency: the figures at its end, their time and flush, and the highest debt.

    The span is a minute, an hour or a day of UTC from `start`. With resolution `flush` the span is a moment.
    """

    start: Time
    last: Figures
    at: Time
    flush: int
    highest: Highest


class Concentration(msgspec.Struct, frozen=True):
    """The share of the largest five banks in Polka's claims (`debtors`) and debts (`creditors`), in basis points,
    rounded.

    None if the sum is zero.
    """

    debtors: int | None
    creditors: int | None


class CapUse(msgspec.Struct, frozen=True):
    """The used part of a bank's net debit cap in a currency: minor units, and basis points, rounded down.

    The used part is the debt with all pending payments of the bank, without payments to the bank. A cap of 0 counts
    as 1.
    """

    bank: str
    cap: int
    used: int
    basis_points: int


class Exposure(msgspec.Struct, frozen=True):
    """Polka's liquidity in a currency. `highest` is the highest debt of banks since midnight (UTC).

    `caps` are the banks nearest to their caps, the nearest first.
    """

    currency: str
    owes: int
    owed: int
    held: int
    highest: Highest
    concentration: Concentration
    caps: list[CapUse]


class Exposures(msgspec.Struct, frozen=True):
    currencies: list[Exposure]
    as_of: AsOf


class LiquidityHistory(msgspec.Struct, frozen=True):
    """A page of samples, the newest first. `cursor` is null on the last page."""

    currency: str
    resolution: Resolution
    samples: list[Sample]
    cursor: Time | None
    next: Annotated[Time | None, OLDER_CURSOR]


def start_of(resolution: Resolution, time: datetime) -> datetime:
    """The beginning of the span around the time."""
    time = time.astimezone(UTC)
    match resolution:
        case "flush":
            return time
        case "minute":
            return time.replace(second=0, microsecond=0)
        case "hour":
            return time.replace(minute=0, second=0, microsecond=0)
        case "day":
            return time.replace(hour=0, minute=0, second=0, microsecond=0)


def changed(newest: Sample | None, change: Figures) -> Figures:
    """The newest figures plus the change; without a sample, only the change."""
    if newest is None:
        return change
    last = newest.last
    return Figures(last.owes + change.owes, last.owed + change.owed, last.held + change.held)


def sampled(resolution: Resolution, before: Sample | None, figures: Figures, at: datetime, flush: int) -> Sample:
    """The newest sample after a flush with these figures. `before` is the newest sample of the same span or an earlier
    span.

    If the clock was set back, samples keep the time of the newest sample.
    """
    if before and at < before.at:
        at = before.at
    start = start_of(resolution, at)
    highest = Highest(figures.owed, at, flush)
    if before and (start == before.start or start < at):
        highest = higher(highest_within(start, before), highest)
    return Sample(start, figures, at, flush, highest)


def highest_within(start: datetime, newest: Sample) -> Highest:
    """The highest value of the span since `start`, if nothing has changed since the newest sample."""
    if start <= newest.start:
        return newest.highest
    return Highest(newest.last.owed, start, newest.flush)


def higher(earlier: Highest, later: Highest) -> Highest:
    return later if later.owed > earlier.owed else earlier


def cap_use(bank: str, cap: int, balance: int) -> CapUse:
    """With the posted balance less all pending payments of the bank."""
    used = max(-balance, 0)
    return CapUse(bank, cap, used, BASIS_POINTS * used // max(cap, 1))


def nearest(uses: Iterable[CapUse], most: int) -> list[CapUse]:
    """The largest uses of caps, largest first. Equal uses are ordered by name."""
    return nsmallest(most, uses, key=lambda use: (-use.basis_points, use.bank))


def concentration(balances: Sequence[int]) -> Concentration:
    """The figures of all posted balances in a currency."""
    return Concentration(
        share([-balance for balance in balances if balance < 0]), share([b for b in balances if b > 0])
    )


def share(amounts: Sequence[int]) -> int | None:
    return basis_points(sum(nlargest(LARGEST, amounts)), sum(amounts))


def basis_points(part: int, whole: int) -> int | None:
    return round(Fraction(BASIS_POINTS * part, whole)) if whole else None
