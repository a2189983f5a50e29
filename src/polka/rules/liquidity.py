"""Liquidity: what Polka owes, is owed and holds in each currency, and how high that went in each span of time. Pure.

Figures change at flushes alone and stay in between. So the highest of a span is over all that they were in it, what
they were at its beginning included.
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
"""Banks whose share in the whole tells how concentrated it is."""
Resolution = Literal["flush", "minute", "hour", "day"]
RESOLUTIONS: tuple[Resolution, ...] = get_args(Resolution)
KEPT: Mapping[Resolution, timedelta] = {
    "flush": timedelta(hours=1),
    "minute": timedelta(days=2),
    "hour": timedelta(days=92),
}
"""How long samples are kept; those of days for ever."""


class Figures(msgspec.Struct, frozen=True):
    """Minor units of one currency: what Polka owes banks, what banks owe Polka, and what Polka holds."""

    owes: int
    owed: int
    held: int


class Highest(msgspec.Struct, frozen=True):
    """The highest that Polka was owed, since when, and the flush that made it so."""

    owed: int
    at: Time
    flush: int


class Sample(msgspec.Struct, frozen=True):
    """What a span of time has for one currency: the figures at its end, since when, by which flush; and the highest.

    The span is a minute, an hour or a day of UTC from `start`, or, of resolution `flush`, the one moment.
    """

    start: Time
    last: Figures
    at: Time
    flush: int
    highest: Highest


class Concentration(msgspec.Struct, frozen=True):
    """The share of the largest five in what Polka is owed (by debtors) and owes (creditors), in basis points, rounded.

    None where there is nothing to have a share in.
    """

    debtors: int | None
    creditors: int | None


class CapUse(msgspec.Struct, frozen=True):
    """What a bank uses of its net debit cap in one currency: minor units, and basis points, rounded down.

    Used is what it owes with all that is pending out, whatever may come in. A cap of 0 counts as 1.
    """

    bank: str
    cap: int
    used: int
    basis_points: int


class Exposure(msgspec.Struct, frozen=True):
    """Polka's liquidity in one currency. `highest` is the highest that it was owed since midnight (UTC).

    `caps` are the banks that are nearest to theirs, the nearest first.
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
    """When the span began that the time is in."""
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
    """What the newest figures are with the change added; without any, the change itself."""
    if newest is None:
        return change
    last = newest.last
    return Figures(last.owes + change.owes, last.owed + change.owed, last.held + change.held)


def sampled(resolution: Resolution, before: Sample | None, figures: Figures, at: datetime, flush: int) -> Sample:
    """The newest sample once a flush has made these figures, from the newest one before: the same span's or an earlier.

    A clock that is set back does not take the samples with it: time stands still for them.
    """
    if before and at < before.at:
        at = before.at
    start = start_of(resolution, at)
    highest = Highest(figures.owed, at, flush)
    if before and (start == before.start or start < at):
        highest = higher(highest_within(start, before), highest)
    return Sample(start, figures, at, flush, highest)


def highest_within(start: datetime, newest: Sample) -> Highest:
    """The highest of the span that begins at `start`, so far, where nothing has changed since the newest sample."""
    if start <= newest.start:
        return newest.highest
    return Highest(newest.last.owed, start, newest.flush)


def higher(earlier: Highest, later: Highest) -> Highest:
    return later if later.owed > earlier.owed else earlier


def cap_use(bank: str, cap: int, balance: int) -> CapUse:
    """With the posted balance less all that is pending out."""
    used = max(-balance, 0)
    return CapUse(bank, cap, used, BASIS_POINTS * used // max(cap, 1))


def nearest(uses: Iterable[CapUse], most: int) -> list[CapUse]:
    """Those who use most of their caps, the most first, and by name where that is the same."""
    return nsmallest(most, uses, key=lambda use: (-use.basis_points, use.bank))


def concentration(balances: Sequence[int]) -> Concentration:
    """Of what all banks have posted in one currency."""
    return Concentration(
        share([-balance for balance in balances if balance < 0]), share([b for b in balances if b > 0])
    )


def share(amounts: Sequence[int]) -> int | None:
    return basis_points(sum(nlargest(LARGEST, amounts)), sum(amounts))


def basis_points(part: int, whole: int) -> int | None:
    return round(Fraction(BASIS_POINTS * part, whole)) if whole else None
