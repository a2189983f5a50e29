"""Money: whole minor units beside an ISO 4217 code, never a float."""

from typing import Annotated

import iso4217
import msgspec

AMOUNT_MAX = 10**15
"""The largest amount of one payment, in minor units of its currency."""

Amount = Annotated[
    int,
    msgspec.Meta(ge=1, le=AMOUNT_MAX, description="Minor units of the currency: 1250 USD is $12.50."),
]


class Currency(msgspec.Struct, frozen=True):
    """A currency of ISO 4217; `exponent` is the number of its minor units' digits after the point."""

    code: str
    name: str
    exponent: int


CURRENCIES = tuple(
    Currency(found.code, found.currency_name, found.exponent)
    for found in sorted(iso4217.Currency, key=lambda currency: currency.code)
    if found.exponent is not None
)
"""Each that has minor units (so without gold or test codes), by code."""

EXPONENTS = {currency.code: currency.exponent for currency in CURRENCIES}


def is_currency(code: str) -> bool:
    return code in EXPONENTS
