"""Answers of the api about currencies: all currencies, the rates of a day, a conversion."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import msgspec

from polka.rules.formats import Time
from polka.rules.money import Currency
from polka.rules.rates import Source


class Currencies(msgspec.Struct, frozen=True):
    currencies: tuple[Currency, ...]


class DayRates(msgspec.Struct, frozen=True):
    """The rates in force on a day: their own date, and the decimal value of a unit of `base` in each currency.

    `source` is `recorded` for the rates in Polka's package.
    """

    base: str
    date: date
    version: int
    source: Source
    stored_at: Time
    rates: Mapping[str, Decimal]


class Money(msgspec.Struct, frozen=True):
    """Minor units of a currency."""

    amount: int
    currency: str


class Conversion(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """A converted amount, and the rates.

    `rate` is the value of a unit (not minor unit) of the first currency in the second, in ten digits at most. `to` is
    computed from the exact rate and rounded down.
    """

    from_: Money
    to: Money
    rate: str
    date: date
    version: int
    source: Source
