"""Values as people and programs write them, each against a reference so plain that one can see that it is right."""

import math
import string
from fractions import Fraction
from itertools import groupby
from typing import Any

import iso4217
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.posting.operations import fingerprint_of
from polka.rules import duration
from polka.rules.money import AMOUNT_MAX, EXPONENTS, Amount, is_currency
from polka.rules.transactions import (
    BankName,
    Party,
    Payment,
    Reference,
    entries_of,
    is_account_id,
    is_bank_name,
)

NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def plain_nanoseconds(text: str) -> Fraction | None:
    """Numbers and units in turns, as in Go: `1.5h`, `.5s`, `1.s`, `1m30s`."""
    runs = ["".join(run) for _, run in groupby(text, lambda letter: letter in "0123456789.")]
    numbers, units = runs[::2], runs[1::2]
    if not runs or len(text) > 32 or len(numbers) != len(units):
        return None
    total = Fraction(0)
    for number, unit in zip(numbers, units, strict=True):
        whole, _, part = number.partition(".")
        if not (whole + part).isdecimal() or unit not in NANOSECONDS:
            return None
        total += Fraction(int(whole + part), 10 ** len(part)) * NANOSECONDS[unit]
    return total


@given(
    st.text()
    | st.text("0123456789.smhunµ -+", max_size=10)
    | st.from_regex(r"([0-9]{0,3}\.?[0-9]{0,3}(ns|us|µs|ms|s|m|h)){1,4}", fullmatch=True)
)
@example("1m30s")
@example("1.5.5s")
@example("1m5")
@example("٣s")  # three seconds in Arabic digits, which Go does not read
def test_a_duration_is_what_go_reads(text: str) -> None:
    expected, seconds = plain_nanoseconds(text), duration.seconds(text)
    if expected is None:
        assert seconds is None
    else:
        assert seconds is not None
        assert math.isclose(seconds, expected / 10**9, rel_tol=1e-12)


LETTERS_AND_DIGITS = string.ascii_letters + string.digits
NAMES = LETTERS_AND_DIGITS + " ._-"


@given(st.text() | st.text(LETTERS_AND_DIGITS, max_size=40) | st.text("aZ09ä٣²\n\0 ", max_size=5))
@example("A" * 34)
@example("A" * 35)
@example("A\n")
def test_an_account_id_is_1_to_34_letters_and_digits(text: str) -> None:
    assert is_account_id(text) == (1 <= len(text) <= 34 and set(text) <= set(LETTERS_AND_DIGITS))


@given(st.text() | st.text(NAMES, max_size=70) | st.text("aZ0 .-_\nä/", max_size=5))
@example("A" * 64)
@example("A" * 65)
@example("A\n")
def test_a_bank_name_begins_with_a_letter_or_digit(text: str) -> None:
    expected = 1 <= len(text) <= 64 and text[0] in LETTERS_AND_DIGITS and set(text) <= set(NAMES)
    assert is_bank_name(text) == expected
    assert accepts(BankName, text) == expected


@given(st.text() | st.text("a\x00\x1f\x7f\x80\n€", max_size=4) | st.text("x", min_size=139, max_size=142))
@example("a\n")
def test_a_reference_is_1_to_140_characters_without_control_characters(text: str) -> None:
    forbidden = {*map(chr, range(32)), "\x7f"}
    assert accepts(Reference, text) == (1 <= len(text) <= 140 and not set(text) & forbidden)


def accepts(kind: Any, value: Any) -> bool:
    """Whether a decoder of this type takes the value as JSON, as it is."""
    try:
        return bool(msgspec.json.decode(msgspec.json.encode(value), type=kind) == value)
    except msgspec.ValidationError:
        return False


@given(st.integers(-(2**70), 2**70) | st.integers(-2, 2) | st.integers(AMOUNT_MAX - 2, AMOUNT_MAX + 2))
def test_an_amount_is_a_whole_number_from_1_to_10_to_the_15(amount: int) -> None:
    assert accepts_text(Amount, str(amount)) == (1 <= amount <= 10**15)


@pytest.mark.parametrize("text", ["5.0", "1e2", "true", '"5"', "null", "1E0", "[5]", "NaN"])
def test_what_is_no_whole_number_is_no_amount(text: str) -> None:
    assert not accepts_text(Amount, text)


def accepts_text(kind: Any, text: str) -> bool:
    try:
        msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError:
        return False
    return True


@given(st.text(max_size=4) | st.text(string.ascii_uppercase, min_size=3, max_size=3))
@example("USD")
@example("usd")
@example("XXX")
@example("XAU")
def test_a_currency_is_a_code_of_iso_4217_that_has_minor_units(code: str) -> None:
    known = {currency.code for currency in iso4217.Currency if currency.exponent is not None}
    assert is_currency(code) == (code in known)


def test_exponents_are_those_of_iso_4217() -> None:
    assert {code: EXPONENTS[code] for code in ("USD", "EUR", "JPY", "BHD", "CLF")} == {
        "USD": 2,
        "EUR": 2,
        "JPY": 0,
        "BHD": 3,
        "CLF": 4,
    }


PARTIES = st.builds(Party, st.text(NAMES, min_size=1), st.text(LETTERS_AND_DIGITS, min_size=1))


@given(PARTIES, PARTIES, st.integers(1, AMOUNT_MAX), st.sampled_from(sorted(EXPONENTS)))
def test_the_entries_of_a_payment_sum_to_zero(sender: Party, receiver: Party, amount: int, currency: str) -> None:
    debit, credit = entries_of(Payment(sender, receiver, amount, currency), None, None)
    assert debit == (sender.bank, sender.account, currency, -amount)
    assert credit == (receiver.bank, receiver.account, currency, amount)


def test_a_request_of_before_currencies_could_differ_is_known_again() -> None:
    """By its fingerprint, in which a client's key of yesterday is stored."""
    sender, receiver = Party("bank1", "A1"), Party("bank2", "B1")
    assert fingerprint_of(Payment(sender, receiver, 100)) == "229a1ab118850f30d8d6e10dc95b7a6f"
    assert fingerprint_of(Payment(sender, receiver, 100, "EUR", "Rent")) == "eb98c7ecee6d466836ff3f9c651856da"
