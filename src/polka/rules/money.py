"""Money: whole minor units with an ISO 4217 code, never a float; and amounts in the form that people write."""

import re
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
"""All currencies with minor units (without gold or test codes), by code."""

EXPONENTS = {currency.code: currency.exponent for currency in CURRENCIES}


def is_currency(code: str) -> bool:
    return code in EXPONENTS


def unknown(code: str) -> str:
    """The message about a text that is not the code of a currency."""
    advice = (
        f"Did you mean {code.upper()}?" if is_currency(code.upper()) else "`polka currencies` lists all currencies."
    )
    return f"Polka has no currency {code!r}. {advice}"


WRITTEN = re.compile(r"(-?)(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d+))? *([A-Z]{3})", re.ASCII)
SWAPPED = str.maketrans(",.", ".,")
DIGITS_MAX = 30
"""The longest accepted text of an amount."""


def figure(amount: int, currency: str) -> str:
    """The amount in whole units of its currency: 1250 USD are 12.50, and 1250 JPY are 1,250.

    A currency that left ISO 4217 has no known decimal places, so the figure is in minor units.
    """
    if currency not in EXPONENTS:
        return f"{amount:,} minor units"
    exponent = EXPONENTS[currency]
    whole, rest = divmod(abs(amount), 10**exponent)
    return f"{'-' if amount < 0 else ''}{whole:,}{f'.{rest:0{exponent}}' if exponent else ''}"


def written(amount: int, currency: str) -> str:
    """The amount as people write it: `12.50 USD`."""
    return f"{figure(amount, currency)} {currency}"


def read(text: str, least: int = 1) -> tuple[int, str]:
    """The minor units, `least` or more, and the currency of an amount as people write it.

    Raises:
        ValueError: the text is no amount, has more decimal places than its currency, or is out of bounds.
    """
    found = WRITTEN.fullmatch(text) if len(text) <= DIGITS_MAX else None
    if found is None:
        raise ValueError(f"{text[:DIGITS_MAX]!r} is not an amount{meant(text)}")
    sign, whole, decimals, currency = found[1], found[2].replace(",", ""), found[3] or "", found[4]
    if not is_currency(currency):
        raise ValueError(unknown(currency))
    exponent = EXPONENTS[currency]
    if len(decimals) > exponent:
        raise ValueError(f"{text}: {currency} has {f'at most {exponent}' if exponent else 'no'} decimal places.")
    amount = int(sign + whole + decimals.ljust(exponent, "0"))
    if not least <= amount <= AMOUNT_MAX:
        bound = "positive" if least else "0 or more"
        raise ValueError(f"{text}: an amount must be {bound}, and at most {written(AMOUNT_MAX, currency)}.")
    return amount, currency


def meant(text: str) -> str:
    """The end of a message: the amount that the text may mean, with a point for a comma or the currency last."""
    if len(text) <= DIGITS_MAX:
        for words in (text.upper().split(), text.upper().translate(SWAPPED).split()):
            for guess in (" ".join(words), " ".join(reversed(words))):
                found = WRITTEN.fullmatch(guess)
                if found and len(found[3] or "") <= EXPONENTS.get(found[4], -1):
                    return f". Did you mean {guess}?"
    return " such as 12.50 USD."
