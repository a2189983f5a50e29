"""Exchange rates as rules: what is read, what is taken, and what an amount comes to, each against a plain reference."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from documents import document
from polka.rules import ecb
from polka.rules.money import AMOUNT_MAX, EXPONENTS
from polka.rules.rates import Rates, Source, StoredRates, Unfit, UnfitError, check, convert, is_stale, shown

DAY = date(2026, 10, 30)
RECORDED = files("polka.store").joinpath("recorded_rates.xml").read_bytes()

CODES = sorted(EXPONENTS.keys() - {"EUR"})
RATES = st.builds(lambda digits, places: Decimal(digits).scaleb(-places), st.integers(1, 10**6 - 1), st.integers(0, 6))
DATES = st.dates(date(1999, 1, 4), date(2199, 12, 31))
DAY_RATES = st.builds(Rates, DATES, st.dictionaries(st.sampled_from(CODES), RATES, min_size=1, max_size=40))
AMOUNTS = st.integers(1, AMOUNT_MAX)


def test_the_recorded_document_is_read_as_it_was_published() -> None:
    rates = ecb.read(RECORDED)
    lines = re.findall(r"currency='(\w+)' rate='([\d.]+)'", RECORDED.decode())
    assert rates == Rates(DAY, {code: Decimal(rate) for code, rate in lines})
    assert len(lines) == 29
    assert (lines[0], lines[-1]) == (("USD", "1.1172"), ("ZAR", "18.6455"))


@given(DAY_RATES)
def test_what_is_published_is_read(rates: Rates) -> None:
    pairs = [(code, f"{rate:f}") for code, rate in rates.of_euro.items()]
    assert ecb.read(document(rates.date, pairs)) == rates


def test_a_currency_that_polka_does_not_know_is_left_out() -> None:
    assert ecb.read(document(DAY, [("USD", "1.1"), ("QQQ", "7")])).of_euro == {"USD": Decimal("1.1")}


BOMB = '<!DOCTYPE e [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>'
ELSEWHERE = '<!DOCTYPE e [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
MALFORMED = {
    "nothing": b"",
    "a page": b"<html><body>Sorry</body></html>",
    "cut off": RECORDED[:700],
    "an entity bomb": RECORDED.replace(b"?>", f"?>{BOMB}".encode()).replace(b"Reference", b"&c;"),
    "an entity from elsewhere": RECORDED.replace(b"?>", f"?>{ELSEWHERE}".encode()).replace(b"Reference", b"&a;"),
    "a document type": RECORDED.replace(b"?>", b"?><!DOCTYPE e>"),
    "an encoding that nobody knows": RECORDED.replace(b"UTF-8", b"UTF-99"),
    "bytes that are not of its encoding": RECORDED.replace(b"European", b"\xff\xfe"),
    "another namespace": RECORDED.replace(b"eurofxref", b"other"),
    "no day": RECORDED.replace(b"time=", b"when="),
    "no rates": document(DAY, []),
    "two days": RECORDED.replace(b"\t</Cube>", b"<Cube time='2026-10-29'/>\t</Cube>"),
    "no date": RECORDED.replace(b"2026-10-30", b"2026-10-32"),
    "a date in another form": RECORDED.replace(b"2026-10-30", b"20261030"),
    "a rate of nothing": document(DAY, [("USD", "0.000")]),
    "a rate below nothing": document(DAY, [("USD", "-1.1172")]),
    "a rate with a comma": document(DAY, [("USD", "1,1172")]),
    "a rate with an exponent": document(DAY, [("USD", "1e3")]),
    "a rate that is no number": document(DAY, [("USD", "NaN")]),
    "a rate in other digits": document(DAY, [("USD", "١")]),
    "a rate that is left out": RECORDED.replace(b" rate='1.1172'", b""),
    "a currency that is left out": RECORDED.replace(b"currency='USD' ", b""),
    "a currency in small letters": document(DAY, [("usd", "1.1")]),
    "a currency twice": document(DAY, [("USD", "1.1"), ("USD", "1.1")]),
    "the euro itself": document(DAY, [("USD", "1.1"), ("EUR", "1")]),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_such_document_is_not_read(text: bytes) -> None:
    assert text != RECORDED
    with pytest.raises(UnfitError) as caught:
        ecb.read(text)
    assert caught.value.reason is Unfit.MALFORMED
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200), st.integers(0, len(RECORDED)), st.integers(0, 30))
@example(b"\x00", 0, 0)
def test_no_bytes_whatever_are_half_read(noise: bytes, at: int, length: int) -> None:
    """They are refused, or give rates that could be stored."""
    for text in (noise, RECORDED[:at] + noise + RECORDED[at + length :]):
        try:
            rates = ecb.read(text)
        except UnfitError:
            continue
        assert all(rate > 0 and rate.is_finite() for rate in rates.of_euro.values())
        assert rates.of_euro.keys() <= EXPONENTS.keys()


LAST = Rates(DAY, {code: Decimal(100) for code in ("CHF", "GBP", "JPY", "USD")})
NEXT_DAY = DAY + timedelta(days=1)


@pytest.mark.parametrize(
    "rates",
    [
        LAST,
        Rates(NEXT_DAY, LAST.of_euro),
        Rates(NEXT_DAY, {"GBP": Decimal(100), "USD": Decimal(100)}),
        Rates(NEXT_DAY, {**LAST.of_euro, "SEK": Decimal("0.001")}),
        Rates(NEXT_DAY, {**LAST.of_euro, "GBP": Decimal(150)}),
        Rates(NEXT_DAY, {**LAST.of_euro, "GBP": Decimal("66.67")}),
    ],
)
def test_what_may_follow_the_last_rates(rates: Rates) -> None:
    check(rates, LAST, NEXT_DAY, 50)


@pytest.mark.parametrize(
    ("rates", "reason", "said"),
    [
        (Rates(NEXT_DAY + timedelta(days=1), LAST.of_euro), Unfit.FUTURE, "today is 2026-10-31"),
        (Rates(DAY - timedelta(days=1), LAST.of_euro), Unfit.OLD, "2026-10-29, older than those of 2026-10-30"),
        (Rates(NEXT_DAY, {"USD": Decimal(100)}), Unfit.INCOMPLETE, "CHF, GBP, JPY"),
        (Rates(NEXT_DAY, {**LAST.of_euro, "GBP": Decimal("150.01")}), Unfit.IMPLAUSIBLE, "GBP is 150.01, after 100"),
        (Rates(NEXT_DAY, {**LAST.of_euro, "GBP": Decimal("66.66")}), Unfit.IMPLAUSIBLE, "more than 50 %"),
        (Rates(DAY, {**LAST.of_euro, "GBP": Decimal(1000)}), Unfit.IMPLAUSIBLE, "more than 50 %"),
    ],
)
def test_what_may_not_follow_the_last_rates(rates: Rates, reason: Unfit, said: str) -> None:
    with pytest.raises(UnfitError, match=said) as caught:
        check(rates, LAST, NEXT_DAY, 50)
    assert caught.value.reason is reason


def test_the_first_rates_of_all_follow_none() -> None:
    check(LAST, None, DAY, 50)


@pytest.mark.parametrize(
    ("source", "takes_recorded", "days", "stale"),
    [
        (Source.FETCHED, True, 7, False),
        (Source.FETCHED, True, 8, True),
        (Source.RECORDED, True, 5_000, False),
        (Source.RECORDED, False, 7, False),
        (Source.RECORDED, False, 8, True),
    ],
)
def test_when_rates_are_stale(source: Source, takes_recorded: bool, days: int, stale: bool) -> None:
    stored = StoredRates(LAST, 1, source, datetime(2026, 10, 30, 15, tzinfo=UTC))
    assert is_stale(stored, DAY + timedelta(days=days), 7, takes_recorded) is stale


def plain_convert(amount: int, source: str, target: str, of_euro: dict[str, str]) -> int:
    """By whole numbers alone, rounded down."""

    def whole(text: str) -> tuple[int, int]:
        before, _, after = text.partition(".")
        return int(before + after), int(10 ** len(after))

    source_rate, source_scale = whole(of_euro[source])
    target_rate, target_scale = whole(of_euro[target])
    above = amount * target_rate * source_scale * int(10 ** EXPONENTS[target])
    below = source_rate * target_scale * int(10 ** EXPONENTS[source])
    return above // below


PAIRS = st.sampled_from(["EUR", *CODES])


@given(AMOUNTS, PAIRS, PAIRS, RATES, RATES)
@example(9, "EUR", "JPY", Decimal(1), Decimal(10))  # nine tenths of a yen: 0
@example(15, "EUR", "JPY", Decimal(1), Decimal(10))  # one and a half: 1
@example(30, "EUR", "JPY", Decimal(1), Decimal(10))
@example(1, "EUR", "USD", Decimal(1), Decimal("3.9999999999"))  # as a decimal of ten digits it would be 4
def test_an_amount_is_rounded_down_once(amount: int, source: str, target: str, one: Decimal, two: Decimal) -> None:
    rates = Rates(DAY, {source: one, target: two})
    texts = {currency: f"{rate:f}" for currency, rate in rates.of_euro.items()} | {"EUR": "1"}
    assert convert(amount, source, target, rates.rate(source, target)) == plain_convert(amount, source, target, texts)


@given(AMOUNTS, PAIRS)
def test_a_currency_in_itself_is_the_same(amount: int, currency: str) -> None:
    rate = Rates(DAY, {currency: Decimal("1.2345")}).rate(currency, currency)
    assert convert(amount, currency, currency, rate) == amount
    assert shown(rate) == "1"


@given(AMOUNTS, DAY_RATES, st.data())
def test_there_and_back_loses_less_than_a_unit_of_each(amount: int, rates: Rates, data: st.DataObject) -> None:
    source, target = (data.draw(st.sampled_from(["EUR", *rates.of_euro])) for _ in range(2))
    there = rates.rate(source, target)
    back = rates.rate(target, source)
    assert there * back == 1
    returned = convert(convert(amount, source, target, there), target, source, back)
    minor = back * Fraction(10) ** (EXPONENTS[source] - EXPONENTS[target])  # a minor unit of target, in those of source
    assert 0 <= amount - returned < minor + 1


@given(AMOUNTS, DAY_RATES, st.data())
def test_by_way_of_a_third_currency_is_within_what_rounding_takes(
    amount: int, rates: Rates, data: st.DataObject
) -> None:
    source, middle, target = (data.draw(st.sampled_from(["EUR", *rates.of_euro])) for _ in range(3))
    first, second = rates.rate(source, middle), rates.rate(middle, target)
    straight = rates.rate(source, target)
    assert first * second == straight
    by_way = convert(convert(amount, source, middle, first), middle, target, second)
    minor = second * Fraction(10) ** (EXPONENTS[target] - EXPONENTS[middle])
    assert 0 <= convert(amount, source, target, straight) - by_way < minor + 1


IDR_TO_GBP = Rates(DAY, {"IDR": Decimal("20275.17"), "GBP": Decimal("0.83380")})
PURSES = st.dictionaries(st.sampled_from(["EUR", "USD", "GBP", "JPY", "IDR", "KWD"]), st.integers(1, 10**9), min_size=1)
STEPS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 10**9), st.integers(1, 1000)), max_size=20
)
ALL_SIX = st.fixed_dictionaries(dict.fromkeys(("USD", "GBP", "JPY", "IDR", "KWD"), RATES))


@given(PURSES, STEPS, ALL_SIX)
@example(
    {"IDR": 12_159 * 5_000},
    [(4, 2, 12_159, 5_000), (2, 4, 5_000, 1)],
    {**dict.fromkeys(("USD", "JPY", "KWD"), Decimal(1)), **IDR_TO_GBP.of_euro},
)
def test_no_sequence_of_conversions_at_the_same_rates_gains_anything(
    purse: dict[str, int], steps: list[tuple[int, int, int, int]], of_euro: dict[str, Decimal]
) -> None:
    """Whatever is converted into what, in however many parts: what is held is never worth more than before."""
    rates, codes = Rates(DAY, of_euro), ("EUR", "USD", "GBP", "JPY", "IDR", "KWD")
    held = dict.fromkeys(codes, 0) | purse

    def worth() -> Fraction:
        units = {code: rates.rate(code, "EUR") / 10 ** EXPONENTS[code] for code in codes}
        return sum((held[code] * unit for code, unit in units.items()), Fraction(0))

    before = worth()
    for one, other, amount, times in steps:
        source, target = codes[one], codes[other]
        times = min(times, held[source] // amount)
        got = convert(amount, source, target, rates.rate(source, target))
        if source != target and got:  # nothing is refused
            held[source] -= amount * times
            held[target] += got * times
        assert worth() <= before


@given(st.builds(Fraction, st.integers(1, 10**18), st.integers(1, 10**18)))
@example(Fraction(2, 3))
@example(Fraction(1, 10**12))
@example(Fraction(12_345_678_905, 10))  # half: to the even digit
@example(Fraction(12_345_678_915, 10))
def test_a_rate_is_shown_in_ten_digits_rounded_half_to_even(rate: Fraction) -> None:
    text = shown(rate)
    assert re.fullmatch(r"0|[1-9]\d*|(0|[1-9]\d*)\.\d*[1-9]", text)
    scale = Fraction(1)
    while rate * scale >= 10**10:
        scale /= 10
    while rate * scale < 10**9:
        scale *= 10
    assert Fraction(text) * scale == round(rate * scale)
