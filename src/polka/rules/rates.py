"""Exchange rates: the reference rates of a day, the checks before their use, and conversions. Pure.

Rates are decimals and fractions. An amount is rounded once, down. No sequence of conversions gains money.
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
"""Significant digits of a displayed cross rate. Amounts are computed from the exact rate."""
DROPPED_MAX = 2
"""Currencies that may be missing compared to the last rates. Two countries have joined the euro on one day, never
more."""


class Rates(msgspec.Struct, frozen=True):
    """The reference rates of one day: the value of one euro in each currency, without the euro itself."""

    date: date
    of_euro: Mapping[str, Decimal]

    def rate(self, source: str, target: str) -> Fraction:
        """The value of one unit (not minor unit) of `source` in `target`, by way of the euro.

        Raises:
            KeyError: one of the currencies has no rate.
        """
        return self._of_euro(target) / self._of_euro(source)

    def has(self, currency: str) -> bool:
        return currency == EURO or currency in self.of_euro

    def _of_euro(self, currency: str) -> Fraction:
        return Fraction(1) if currency == EURO else Fraction(self.of_euro[currency])


class Converted(msgspec.Struct, frozen=True):
    """An amount in another currency, and its rates.

    `rate` is the displayed value of one unit (not minor unit) of the original currency in this currency.
    """

    amount: int
    currency: str
    rate: str
    rate_date: date
    rate_version: int


class Source(Enum):
    """The source of stored rates: the document in Polka's package, or the publisher."""

    RECORDED = "recorded"
    FETCHED = "fetched"


class StoredRates(msgspec.Struct, frozen=True):
    """Stored rates, kept for ever. A later version for the same day corrects an earlier version."""

    rates: Rates
    version: int
    source: Source
    stored_at: datetime


class Unfit(Enum):
    """The reason for rejecting rates, in the order of the checks."""

    MALFORMED = "malformed"
    FUTURE = "future"
    OLD = "old"
    INCOMPLETE = "incomplete"
    IMPLAUSIBLE = "implausible"


class UnfitError(ValueError):
    """The document or its rates are unfit: the kind of reason, and the fact."""

    def __init__(self, reason: Unfit, fact: str) -> None:
        super().__init__(fact)
        self.reason = reason


def check(rates: Rates, last: Rates | None, today: date, change_limit_percent: int) -> None:
    """Check that the rates may follow the last rates. Rates of the same day may be corrected.

    Raises:
        UnfitError: the rates are from the future, older, or incomplete, or a rate has changed by more than the limit.
            The limit is the largest excess of the larger rate over the smaller rate.
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
    """Whether these rates, the newest, are too old for conversions.

    Accepted recorded rates have no age limit, because they are the newest only until the first fetch.
    """
    if takes_recorded and stored.source is Source.RECORDED:
        return False
    return (today - stored.rates.date).days > age_limit_days


def converted(amount: int, source: str, target: str, stored: StoredRates) -> Converted:
    """The value of the amount, in minor units of `source`, in `target` by these rates.

    Raises:
        KeyError: one of the currencies has no rate.
    """
    rate = stored.rates.rate(source, target)
    return Converted(convert(amount, source, target, rate), target, shown(rate), stored.rates.date, stored.version)


def convert(amount: int, source: str, target: str, rate: Fraction) -> int:
    """The amount, in minor units of `source`, in whole minor units of `target`: the floor of the exact amount."""
    return floor(amount * rate * Fraction(10) ** (EXPONENTS[target] - EXPONENTS[source]))


def shown(rate: Fraction) -> str:
    """The rate as a decimal, of ten significant digits at most, rounded half to even."""
    context = Context(prec=DIGITS_SHOWN, rounding=ROUND_HALF_EVEN)
    decimal = context.divide(Decimal(rate.numerator), Decimal(rate.denominator))
    return f"{decimal.normalize(context):f}"
