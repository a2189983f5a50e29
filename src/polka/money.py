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

EXPONENTS: dict[str, int] = {
    currency.code: currency.exponent for currency in iso4217.Currency if currency.exponent is not None
}
"""Digits after the point, by code, for each ISO 4217 currency that has minor units (so without gold or test codes)."""


def is_currency(code: str) -> bool:
    return code in EXPONENTS
