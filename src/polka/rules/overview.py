"""The console's view of the processes and of one currency's positions, all at one moment. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from heapq import nlargest

import msgspec

from polka.rules.liquidity import Figures, Highest
from polka.rules.pulses import Heard, Line, Rates

STANDINGS_MAX = 40
"""The number of banks in a book: the banks with the largest positions."""

Amount = str
"""Minor units in decimal digits. A browser's numbers are exact only up to 2**53, and a balance has no bound."""


class Standing(msgspec.Struct, frozen=True):
    """A bank's position in the currency. `pending` is None if the figures come from the database, because only the
    cache knows pending sums."""

    bank: str
    posted: Amount
    pending: Amount | None
    cap: Amount | None


class Book(msgspec.Struct, frozen=True):
    """One currency as of a flush: the largest positions by name, the number of all banks, and liquidity."""

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
    """`epoch` is 0 during the start. `flush_age_seconds` is the time since the last flush."""

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
    """`cache` is None if the cache is down. Then `apis` has only the asked api, and `book` is as of the database's
    latest flush. `book` is None if there is no currency yet, or no source can answer. `lines` are the last two minutes,
    on request."""

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
    """From the posted and pending sums of each bank."""
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
    """The currency to show: the wanted currency, or dollars, or the first existing currency."""
    there = list(currencies)
    return next((one for one in (wanted, "USD", *there) if one in there), None)
