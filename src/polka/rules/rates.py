"""Exchange rates: the reference rates of one day, when they will do, and what an amount comes to by them.

Pure. Rates are decimals and fractions. An amount is rounded once, down: no sequence of conversions gains anything.
"""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import Enum
from fractions import Fraction
from math import floor

import msgspec

from polka.rules.money import EXPONENTS

EURO = "EUR"

DIGITS_SHOWN = 10
"""Significant digits of a cross rate, where it is shown. Amounts come of the rate itself."""
DROPPED_MAX = 2
"""Currencies that one day's rates may lack that the last ones had: two at once have taken the euro, never more."""


class Rates(msgspec.Struct, frozen=True):
    """The reference rates of one day: what one euro is in each currency, the euro itself left out."""

    date: date
    of_euro: Mapping[str, Decimal]

    def rate(self, source: str, target: str) -> Fraction:
        """What one unit (not minor unit) of `source` is in `target`, by way of the euro.

        Raises:
            KeyError: one of the currencies has no rate.
        """
        return self._of_euro(target) / self._of_euro(source)

    def has(self, currency: str) -> bool:
        return currency == EURO or currency in self.of_euro

    def _of_euro(self, currency: str) -> Fraction:
        return Fraction(1) if currency == EURO else Fraction(self.of_euro[currency])


class Converted(msgspec.Struct, frozen=True):
    """What an amount comes to in another currency, and the rates that say so.

    `rate` is what one unit (not minor unit) of the amount's currency is in this one, as it is shown.
    """

    amount: int
    currency: str
    rate: str
    rate_date: date
    rate_version: int


class Source(Enum):
    """Where stored rates come from: the document that ships with Polka, or whoever publishes them."""

    RECORDED = "recorded"
    FETCHED = "fetched"


class StoredRates(msgspec.Struct, frozen=True):
    """Rates as they are stored, for ever: another version for the same day corrects this one."""

    rates: Rates
    version: int
    source: Source
    stored_at: datetime


class Unfit(Enum):
    """Why rates are not taken, in the order in which it is looked at."""

    MALFORMED = "malformed"
    FUTURE = "future"
    OLD = "old"
    INCOMPLETE = "incomplete"
    IMPLAUSIBLE = "implausible"


class UnfitError(ValueError):
    """What was to give rates does not: the kind of reason, and the fact."""

    def __init__(self, reason: Unfit, fact: str) -> None:
        super().__init__(fact)
        self.reason = reason


def check(rates: Rates, last: Rates | None, today: date, change_limit_percent: int) -> None:
    """See that the rates may follow the last ones; those of the same day may be corrected.

    Raises:
        UnfitError: they are of the future, older, lack too much, or a rate has changed by more than the limit: it is
            more than that much above the last one, or the last one is more than that much above it.
    """
    if rates.date > today:
        raise UnfitError(Unfit.FUTURE, f"they are of {rates.date}, and today is {today}")
    if last is None:
        return
    if rates.date < last.date:
        raise UnfitError(Unfit.OLD, f"they are of {rates.date}, older than those of {last.date}")
    dropped = sorted(last.of_euro.keys() - rates.of_euro.keys())
    if len(dropped) > DROPPED_MAX:
        raise UnfitError(Unfit.INCOMPLETE, f"they lack {', '.join(dropped)}, which those of {last.date} have")
    for currency in sorted(last.of_euro.keys() & rates.of_euro.keys()):
        lower, higher = sorted((Fraction(last.of_euro[currency]), Fraction(rates.of_euro[currency])))
        if higher * 100 > lower * (100 + change_limit_percent):
            changed = f"{currency} is {rates.of_euro[currency]}, after {last.of_euro[currency]} on {last.date}"
            raise UnfitError(Unfit.IMPLAUSIBLE, f"{changed}: more than {change_limit_percent} % apart")


def is_stale(stored: StoredRates, today: date, age_limit_days: int, takes_recorded: bool) -> bool:
    """Whether nothing may be converted by these, the newest rates.

    Recorded rates, where they are taken, do at any age: they are the newest only while none were ever fetched.
    """
    if takes_recorded and stored.source is Source.RECORDED:
        return False
    return (today - stored.rates.date).days > age_limit_days


def converted(amount: int, source: str, target: str, stored: StoredRates) -> Converted:
    """What the amount, in minor units of `source`, comes to in `target` by these rates.

    Raises:
        KeyError: one of the currencies has no rate.
    """
    rate = stored.rates.rate(source, target)
    return Converted(convert(amount, source, target, rate), target, shown(rate), stored.rates.date, stored.version)


def convert(amount: int, source: str, target: str, rate: Fraction) -> int:
    """The amount, in minor units of `source`, in whole ones of `target`: the floor of the exact amount."""
    return floor(amount * rate * Fraction(10) ** (EXPONENTS[target] - EXPONENTS[source]))


def shown(rate: Fraction) -> str:
    """The rate as a decimal, of ten significant digits at most, rounded half to even."""
    context = Context(prec=DIGITS_SHOWN, rounding=ROUND_HALF_EVEN)
    decimal = context.divide(Decimal(rate.numerator), Decimal(rate.denominator))
    return f"{decimal.normalize(context):f}"
