"""What the console shows of the processes and of one currency's positions, all at one moment. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from heapq import nlargest

import msgspec

from polka.rules.liquidity import Figures, Highest
from polka.rules.pulses import Heard, Line, Rates

STANDINGS_MAX = 40
"""Banks that are told of; those with the largest positions, where there are more."""

Amount = str
"""Minor units in decimal digits: a browser's numbers are exact to 2**53 only, and a balance knows no bound."""


class Standing(msgspec.Struct, frozen=True):
    """A bank's position in the currency; `pending` is None where the cache, which knows it, was not asked."""

    bank: str
    posted: Amount
    pending: Amount | None
    cap: Amount | None


class Book(msgspec.Struct, frozen=True):
    """One currency as of a flush: the largest positions by name, of how many banks, and liquidity."""

    currency: str
    flush: int
    standings: list[Standing]
    banks: int
    owes: Amount
    owed: Amount
    held: Amount
    highest: Amount
    highest_at: datetime


class CacheHealth(msgspec.Struct, frozen=True):
    """`epoch` is 0 while it starts. `flush_age_seconds` is the lag: how long ago its last flush looked."""

    name: str
    pid: int
    version: str
    since: datetime
    lag_seconds: float
    epoch: int
    flush: int
    flush_age_seconds: float
    pending: int


class Overview(msgspec.Struct, frozen=True):
    """`cache` is None where it does not answer: then only the api that was asked is in `apis`, and `book` is as of the
    database's latest flush. `book` is None where there is no such currency yet, or nobody can say. `lines` are the last
    two minutes, where they are asked for."""

    rates: Rates
    apis: list[Heard]
    cache: CacheHealth | None
    currencies: list[str]
    book: Book | None
    lines: list[Line] = []


def book(
    currency: str,
    flush: int,
    figures: Figures,
    highest: Highest,
    held: Iterable[tuple[str, int, int | None]],
    caps: Mapping[str, Mapping[str, int]],
) -> Book:
    """From each bank's posted and pending."""
    all_held = list(held)
    largest = nlargest(STANDINGS_MAX, all_held, key=lambda one: abs(one[1] + (one[2] or 0)))
    return Book(
        currency,
        flush,
        [standing(*one, caps.get(one[0], {}).get(currency)) for one in sorted(largest)],
        len(all_held),
        str(figures.owes),
        str(figures.owed),
        str(figures.held),
        str(highest.owed),
        highest.at,
    )


def standing(bank: str, posted: int, pending: int | None, cap: int | None) -> Standing:
    return Standing(bank, str(posted), None if pending is None else str(pending), None if cap is None else str(cap))


def chosen(wanted: str | None, currencies: Iterable[str]) -> str | None:
    """The currency that is shown: the one that is wanted, or dollars, or the first that there is."""
    there = list(currencies)
    return next((one for one in (wanted, "USD", *there) if one in there), None)
