"""Amounts as people write them: exact in every currency, and no text is taken for another amount."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polka.audit.checks import AMOUNTS, CACHE_CHECK, CHECKS, currency_of
from polka.rules.money import AMOUNT_MAX, EXPONENTS, figure, read, written


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (1250, "USD", "12.50 USD"),
        (1250, "JPY", "1,250 JPY"),
        (1250, "KWD", "1.250 KWD"),
        (5, "USD", "0.05 USD"),
        (-5, "USD", "-0.05 USD"),
        (0, "USD", "0.00 USD"),
        (-98_765_432_100, "USD", "-987,654,321.00 USD"),
        (12345, "CLF", "1.2345 CLF"),
        (1250, "HRK", "1,250 minor units HRK"),
    ],
)
def test_an_amount_is_written_with_the_decimal_places_of_its_currency(amount: int, currency: str, shown: str) -> None:
    assert written(amount, currency) == shown


@given(st.integers(1, AMOUNT_MAX), st.sampled_from(sorted(EXPONENTS)))
def test_a_written_amount_is_read_as_the_same_amount(amount: int, currency: str) -> None:
    assert read(written(amount, currency)) == (amount, currency)
    assert read(written(amount, currency).replace(",", "")) == (amount, currency)
    assert figure(-amount, currency) == f"-{figure(amount, currency)}"


@pytest.mark.parametrize(
    ("text", "amount"),
    [("12.5 USD", 1250), ("12 USD", 1200), ("12.50USD", 1250), ("0.01 USD", 1), ("1,250.00 USD", 125_000)],
)
def test_a_shorter_form_is_the_same_amount(text: str, amount: int) -> None:
    assert read(text) == (amount, "USD")


NO_AMOUNT = "is not an amount such as 12.50 USD."
MAX = "at most 10,000,000,000,000.00 USD."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("12.505 USD", "12.505 USD: USD has at most 2 decimal places."),
        ("12.500 USD", "12.500 USD: USD has at most 2 decimal places."),
        ("1250.0 JPY", "1250.0 JPY: JPY has no decimal places."),
        *((text, f"{text}: an amount must be positive, and {MAX}") for text in ("0 USD", "-5 USD", "-0.01 USD")),
        ("10000000000000.01 USD", MAX),
        ("12.50 XAU", "Polka has no currency 'XAU'. `polka currencies` lists all currencies."),
        *((text, NO_AMOUNT) for text in ("1,2500 USD", "12.50", "USD", "", "+5 USD", "1e3 USD", "12,5 JPY", "1,2 XYZ")),
        *((text, NO_AMOUNT) for text in ("1_000 USD", "١٢ USD", "12. USD", ".5 USD", "9" * 5000 + " USD")),
        *((text, NO_AMOUNT) for text in ("$12.50", "12.50 USDX", "- 5 USD", "1 2 USD")),
        ("12,50 USD", "'12,50 USD' is not an amount. Did you mean 12.50 USD?"),
        ("1.250,00 EUR", "Did you mean 1,250.00 EUR?"),
        ("-12,50 USD", "Did you mean -12.50 USD?"),
        ("12.50 usd", "Did you mean 12.50 USD?"),
        ("USD 12.50", "Did you mean 12.50 USD?"),
        ("eur 1.250,5", "Did you mean 1,250.5 EUR?"),
        ("12.50 USD\n", "Did you mean 12.50 USD?"),
    ],
)
def test_any_other_text_is_rejected_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason) + r"\Z"):
        read(text)


def test_every_check_that_compares_amounts_is_a_check() -> None:
    assert CHECKS.keys() | {CACHE_CHECK} >= AMOUNTS


@pytest.mark.parametrize(
    ("check", "subject", "currency"),
    [
        ("An account's balance is the sum of its entries", "my EUR bank ACC1 USD", "USD"),
        ("Balances of all banks sum to zero", "JPY", "JPY"),
        ("A window's totals are those of its entries", "window 1 bank2 USD credits", "USD"),
        ("A window's totals are those of its entries", "window 1 bank2 USD count", None),
        ("A bank's balance is the sum of its entries", "something is stored that makes no sense: x", None),
        ("What has accrued in the open window is that of balances, times and rates", "bank1 USD owed", None),
        ("No batch is set aside", "USD", None),
        (CACHE_CHECK, "bank1 USD", "USD"),
    ],
)
def test_a_difference_is_an_amount_if_its_check_compares_amounts(
    check: str, subject: str, currency: str | None
) -> None:
    assert currency_of(check, subject) == currency
