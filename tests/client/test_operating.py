"""The calls for operators, by both clients, against a Polka of this file's own."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from client_kinds import Connect
from door import Loss, door
from polka.client import Fee, NewKey, OutcomeUnknownError, Party, Payment, ProblemError, Target, TermsPatch
from running import Running
from services import wait_for

RENT = Payment(Party("bank1", "A1"), Party("bank2", "B1"), 1250, "USD")


def test_a_window_is_closed_and_settled(own_polka: Running, connect: Connect) -> None:
    client = connect(own_polka.url)
    made = client.pay(RENT)
    wait_for("the payment is posted", lambda: client.payment(made.id).posted_at)
    window = next(client.windows()).id
    assert client.close_window(window).state == "closed"
    assert client.settle_window(window).state == "settled"
    assert client.settle_window(window) == client.settle_window(window)
    report = client.window(window)
    assert {total.bank: total.net for total in report.totals if total.currency == "USD"}["bank2"] == 1250
    assert [one.id for one in client.windows(page_size=1)] == list(range(window + 1, 0, -1))
    with pytest.raises(ProblemError) as early:
        client.close_window(window + 9)
    assert (early.value.status, early.value.code) == (409, "conflict")


def test_a_closing_whose_answer_is_lost_is_done_once(own_polka: Running, connect: Connect) -> None:
    window = next(connect(own_polka.url).windows()).id
    with door(own_polka.url, lambda number: Loss.CUT if number == 0 else None) as entrance:
        assert connect(entrance.url).close_window(window).state == "closed"
    assert next(connect(own_polka.url).windows()).id == window + 1


def test_a_banks_terms(own_polka: Running, connect: Connect) -> None:
    client = connect(own_polka.url)
    terms = client.change_terms("bank3", TermsPatch(caps={"USD": 500, "EUR": 7}, fees={"USD": Fee(fixed=3)}))
    assert (terms.caps, terms.fees) == ({"USD": 500, "EUR": 7}, {"USD": Fee(fixed=3)})
    with pytest.raises(ProblemError) as capped:
        client.pay(Payment(Party("bank3", "A1"), Party("bank2", "B1"), 1000))
    assert capped.value.code == "cap_exceeded"
    assert capped.value.overdraft is not None
    assert capped.value.overdraft.cap == 500
    assert client.change_terms("bank3", TermsPatch(caps={"EUR": None}, fees=None)).caps == {"USD": 500}
    assert client.bank("bank3").fees == {}
    assert "bank3" in {use.bank for of in client.liquidity(caps=20).currencies for use in of.caps}
    client.change_terms("bank3", TermsPatch(caps=None))


def test_liquidity_over_time(own_polka: Running, connect: Connect) -> None:
    client = connect(own_polka.url)
    made = client.pay(RENT)
    wait_for("the payment is posted", lambda: client.payment(made.id).posted_at)
    samples = list(client.liquidity_history("USD", resolution="flush", page_size=1))
    assert samples
    assert [one.start for one in samples] == sorted({one.start for one in samples}, reverse=True)
    assert list(client.liquidity_history("USD", until=datetime.now(UTC) - timedelta(days=365))) == []


def test_currencies_and_rates(own_polka: Running, connect: Connect) -> None:
    client = connect(own_polka.url)
    assert {one.code: one.exponent for one in client.currencies().currencies}["JPY"] == 0
    rates = client.rates()
    assert rates == client.rates(rates.date)
    conversion = client.convert(1250, "USD", "JPY")
    assert (conversion.from_.amount, conversion.from_.currency, conversion.to.currency) == (1250, "USD", "JPY")
    with pytest.raises(ProblemError, match="no currency XXA"):
        client.convert(1250, "USD", "XXA")


def test_keys(own_polka: Running, connect: Connect) -> None:
    client = connect(own_polka.url)
    made = client.create_key(NewKey("a test", "bank1"))
    of_bank = connect(own_polka.url, made.key)
    assert {bank.name for bank in of_bank.banks()} == {"bank1"}
    with pytest.raises(ProblemError, match="needs the scope operate"):
        of_bank.liquidity()
    assert made.id in {key.id for key in client.api_keys(page_size=1)}
    assert client.revoke_key(made.id).revoked_at
    assert client.revoke_key(made.id).revoked_at
    wait_for("the key is rejected", lambda: is_rejected(of_bank))


def is_rejected(client: Any) -> bool:
    try:
        list(client.banks())
    except ProblemError as error:
        return error.code == "unauthorized"
    return False


def test_a_key_whose_answer_is_lost_is_not_made_again(own_polka: Running, connect: Connect, key: str) -> None:
    client = connect(own_polka.url)
    with door(own_polka.url, lambda _: Loss.CUT) as entrance, pytest.raises(OutcomeUnknownError) as unknown:
        connect(entrance.url).create_key(NewKey(key))
    assert unknown.value.idempotency_key is None
    assert [found.name for found in client.api_keys()].count(key) == 1


def test_a_bank_is_opened_once(own_polka: Running, connect: Connect, key: str) -> None:
    client = connect(own_polka.url)
    assert client.open_bank(f"{key} - sons").name == f"{key} - sons"
    with pytest.raises(ProblemError) as there:
        client.open_bank(f"{key} - sons")
    assert there.value.code == "conflict"
    assert client.bank(f"{key} - sons").balances == []


def test_the_audits_and_no_drills(own_polka: Running, connect: Connect) -> None:
    client = connect(own_polka.url)
    assert client.audits(limit=1).runs is not None
    for call in (client.drills, lambda: client.start_drill(Target.CACHE)):
        with pytest.raises(ProblemError, match="There are no drills here"):
            call()
