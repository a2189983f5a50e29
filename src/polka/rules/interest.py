"""Interest on debts and credits of banks: the unit of the accrual, and the amount. Pure.

A balance is multiplied by its time, in microseconds, and by the rate, in basis points a year. These are whole numbers,
and their sum is exact. The sum is divided and rounded once, at the close of a window.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from fractions import Fraction

import msgspec

from polka.rules.policy import BASIS_POINTS, Interest
from polka.rules.transactions import POLKA, Entry

INTEREST = "interest"
"""Polka's own account for the other side of every interest entry."""
BOOKED_BY_POLKA = "polka:interest"
"""The account at each bank for its interest. No client can name an account with a colon."""

MICROSECONDS_A_DAY = 86_400 * 10**6
DAYS_A_YEAR = 360
DAYS_A_YEAR_OF = dict.fromkeys(("AUD", "CAD", "GBP", "HKD", "INR", "NZD", "PLN", "SGD", "ZAR"), 365)
"""The customs of money markets: actual days over 365 in these, in a leap year too, over 360 in all others."""

NONE = Interest()

Rates = Mapping[tuple[str, str], Interest]
"""By bank and currency."""


class Change(msgspec.Struct, frozen=True):
    """From this time on the bank's interest is another in the currency."""

    bank: str
    currency: str
    at: datetime
    interest: Interest


def changes(known: Rates, versions: Iterable[tuple[str, datetime, Mapping[str, Interest]]]) -> list[Change]:
    """The changes of rates by new versions of terms (bank, start, and interest by currency; the oldest first)."""
    rates = dict(known)
    found = []
    for bank, at, agreed in versions:
        currencies = agreed.keys() | {currency for owner, currency in rates if owner == bank}
        for currency in sorted(currencies):
            interest = agreed.get(currency, NONE)
            if rates.get((bank, currency), NONE) != interest:
                rates[bank, currency] = interest
                found.append(Change(bank, currency, at, interest))
    return found


def a_minor_unit(currency: str) -> int:
    """The accrual of one minor unit of interest: minor units × microseconds × basis points."""
    return MICROSECONDS_A_DAY * DAYS_A_YEAR_OF.get(currency, DAYS_A_YEAR) * BASIS_POINTS


def amount(currency: str, debit: int, credit: int) -> int:
    """The interest that a bank earns (> 0) or pays (< 0), in minor units, rounded half to even, for the accruals on its
    debts and on its credits."""
    return round(Fraction(credit - debit, a_minor_unit(currency)))


def entries(amounts: Mapping[tuple[str, str], int]) -> list[Entry]:
    """An entry of the bank, and the other side of Polka's, for each amount by bank and currency that is not zero."""
    booked: list[Entry] = []
    for (bank, currency), interest in amounts.items():
        if interest:
            booked += [(bank, BOOKED_BY_POLKA, currency, interest), (POLKA, INTEREST, currency, -interest)]
    return booked
