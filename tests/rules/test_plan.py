"""The spammer's plan: which payments it draws, and who sends which."""

import math
from collections import Counter
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polka.rules import ecb
from polka.rules.rates import convert
from polka.rules.spam_options import read_currencies
from polka.store import rate_sets
from spammer.plan import AMOUNT_ACROSS_MIN, Plan, Tickets, plan

BANKS = [f"bank{n}" for n in range(1, 11)]


def plans() -> st.SearchStrategy[Plan]:
    return st.builds(
        plan,
        st.integers(),
        st.integers(2, 30).map(lambda count: [f"bank{n}" for n in range(count)]),
        st.integers(1, 2000),
        st.floats(0, 3),
    )


@given(st.integers(), st.integers(0, 10**9), st.floats(0, 3))
def test_the_same_seed_and_number_draw_the_same_payment(seed: int, number: int, skew: float) -> None:
    one, other = plan(seed, BANKS, 50, skew), plan(seed, BANKS, 50, skew)
    one.payment(number + 1)
    other.payment(number // 2)
    assert one.payment(number) == other.payment(number)


def test_another_seed_or_number_draws_another_payment() -> None:
    drawn = {str(plan(seed, BANKS, 1000, 0).payment(number)) for seed in range(10) for number in range(100)}
    assert len(drawn) > 990


@given(plans(), st.integers(0, 10**9))
def test_a_payment_is_between_two_banks_of_the_plan(plan: Plan, number: int) -> None:
    payment = plan.payment(number)
    sender, receiver = payment["sender"]["bank"], payment["receiver"]["bank"]
    assert sender != receiver
    assert {sender, receiver} <= set(plan.banks)
    assert 1 <= payment["amount"] <= 10**15


@given(st.integers(), st.integers(0, 10**9), st.floats(0, 3), st.floats(0, 1))
def test_currencies_change_nothing_else_of_a_payment(seed: int, number: int, skew: float, across: float) -> None:
    """But an amount that is too small to come to something in another."""
    one = plan(seed, BANKS, 50, skew).payment(number)
    other = plan(seed, BANKS, 50, skew, ["EUR", "JPY", "USD"], across).payment(number)
    assert {**one, "amount": 0} == {
        **{name: value for name, value in other.items() if name != "receiver_currency"},
        "amount": 0,
        "currency": "USD",
    }
    assert other["currency"] in ("EUR", "JPY", "USD")
    if "receiver_currency" in other:
        assert other["receiver_currency"] in {"EUR", "JPY", "USD"} - {other["currency"]}
        assert other["amount"] == max(one["amount"], 100_000)
    else:
        assert other["amount"] == one["amount"]


def test_no_payment_across_currencies_is_so_small_that_it_may_come_to_nothing() -> None:
    amounts = [plan(1, BANKS, 50, 0, ["USD", "IDR"], 1).payment(number)["amount"] for number in range(2_000)]
    assert min(amounts) == AMOUNT_ACROSS_MIN > min(plan(1, BANKS, 50, 0).payment(n)["amount"] for n in range(2_000))
    rates = ecb.read(files("polka.store").joinpath(rate_sets.RECORDED).read_bytes())
    currencies = ["EUR", *rates.of_euro]
    assert all(convert(AMOUNT_ACROSS_MIN, a, b, rates.rate(a, b)) for a in currencies for b in currencies)


@pytest.mark.parametrize("across", [0, 0.25, 1])
def test_each_currency_and_payments_across_them_have_their_shares(across: float) -> None:
    drawn = [plan(1, BANKS, 50, 0, ["EUR", "JPY", "USD"], across).payment(number) for number in range(3_000)]
    shares = Counter(payment["currency"] for payment in drawn)
    assert all(abs(shares[currency] / 3_000 - 1 / 3) < 0.04 for currency in ("EUR", "JPY", "USD")), shares
    assert abs(sum("receiver_currency" in payment for payment in drawn) / 3_000 - across) < 0.04


@pytest.mark.parametrize("text", ["", "USD,", "usd", "USD,USD", "XXX", "USD;EUR"])
def test_currencies_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"Polka has no currency|names USD twice"):
        read_currencies(text)


def test_a_plan_needs_two_banks() -> None:
    for banks in ([], ["only"]):
        with pytest.raises(ValueError, match="a payment needs two"):
            plan(1, banks, 50, 0)


def test_skew_makes_hot_banks_and_no_skew_makes_none() -> None:
    def shares(skew: float) -> list[float]:
        drawn = plan(1, BANKS, 50, skew)
        counted = Counter(drawn.payment(number)["sender"]["bank"] for number in range(5_000))
        return [counted[bank] / 5_000 for bank in BANKS]

    assert all(0.08 < share < 0.12 for share in shares(0))
    hot = shares(1)
    zipf = [1 / rank / sum(1 / n for n in range(1, 11)) for rank in range(1, 11)]
    assert all(abs(share - expected) < 0.03 for share, expected in zip(hot, zipf, strict=True)), hot


@given(st.integers(0, 300), st.integers(1, 12), st.floats(0, 1000))
def test_tickets_are_handed_out_once_each_over_all_workers(total: int, workers: int, rate: float) -> None:
    taken = []
    for worker in range(workers):
        tickets = Tickets(total, worker, workers, rate)
        while ticket := tickets.take():
            number, due_seconds = ticket
            assert due_seconds == (number / rate if rate else 0)
            taken.append(number)
        assert tickets.take() is None
    assert sorted(taken) == list(range(total))


def test_tickets_without_end_go_on() -> None:
    tickets = Tickets(math.inf, 1, 3, 10)
    assert tickets.take_many(3) == [(1, 0.1), (4, 0.4), (7, 0.7)]
