"""Fees: what a payment costs, where it is booked, and what becomes of it when the payment or the terms change."""

import asyncio
import json
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cache.ledger import flush
from cache.ledger.ledger import Posted
from charged import FEES, agree
from committed import CHANGE, Entries, new_id
from databases import execute
from falsehoods import IN_FEES
from front_door import NOT_POSTED, UNPOSTED, fetch, payload_of, post, refused, send
from polka.audit import snapshot
from polka.rules.fees import charge, fee_of
from polka.rules.money import AMOUNT_MAX
from polka.rules.policy import Fee, Terms
from proof import prove
from running import Running
from services import Service, Services, client, payment, wait_for

pytestmark = pytest.mark.audited

minor_units = st.integers(0, 10**6) | st.integers(0, AMOUNT_MAX)
plans = st.builds(
    lambda fixed, points, bounds: Fee(fixed, points, *bounds),
    minor_units,
    st.integers(0, 10_000),
    st.tuples(minor_units, st.none()) | st.tuples(minor_units, minor_units).map(sorted).map(tuple),
)


@given(plans, st.integers(1, AMOUNT_MAX) | st.integers(1, 10**6))
@example(Fee(0, 5), 1_000)  # half a unit: 0 is even
@example(Fee(1, 5), 1_000)  # one and a half: 2 is even
@example(Fee(AMOUNT_MAX, 10_000), AMOUNT_MAX)
def test_a_fee_is_the_exact_one_rounded_once_within_its_bounds(plan: Fee, amount: int) -> None:
    exact = plan.fixed + amount * Fraction(plan.basis_points, 10_000)
    below = exact.numerator // exact.denominator
    nearest = min((below, below + 1), key=lambda whole: (abs(exact - whole), whole % 2))
    highest = 10**15 if plan.maximum is None else plan.maximum
    assert charge(plan, amount) == (highest if nearest > highest else max(nearest, plan.minimum))


def test_no_fee_is_taken_in_a_currency_in_which_none_is_agreed() -> None:
    terms = Terms(fees={"USD": Fee(25), "JPY": Fee()})
    assert [fee_of(terms, 100, currency) for currency in ("USD", "JPY", "EUR")] == [25, 0, None]


DOCUMENT = Path(__file__).parents[2] / "docs" / "terms.md"


def test_the_documents_example_is_true() -> None:
    """Its terms, and each line of its table."""
    section = DOCUMENT.read_text().partition("## Fees\n")[2].partition("\n## ")[0]
    agreed = Fee(**json.loads(section.partition("-d '")[2].partition("'")[0])["fees"]["USD"])
    rows = [line.replace(",", "").split("|")[1:4] for line in section.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) == 6
    for amount, exact, fee in rows:
        assert Fraction(exact) == agreed.fixed + int(amount) * Fraction(agreed.basis_points, 10_000)
        assert charge(agreed, int(amount)) == int(fee)


moves = st.lists(
    st.tuples(st.sampled_from(["bank1", "bank2", "bank3"]), st.sampled_from(["USD", "EUR"]), st.integers(-50, 50))
)


@given(st.lists(moves, max_size=4))
def test_a_windows_fees_are_what_each_bank_has_paid_to_polka(batches: list[list[tuple[str, str, int]]]) -> None:
    posted, paid = [], dict[tuple[str, ...], int]()
    for fees in batches:
        entries: Entries = []
        for bank, currency, fee in fees:
            entries += [(bank, "A1", currency, -100), ("bank9", "fees", currency, 100)]
            if fee:
                entries += [(bank, "A1", currency, -fee), ("polka", "fees", currency, fee)]
                paid[bank, currency] = paid.get((bank, currency), 0) + fee
        posted.append(Posted(new_id(), entries))
    accounts = flush.totals_by_account(entry for batch in posted for entry in batch.entries)
    assert flush.fees_by_bank(accounts, posted) == paid


@pytest.fixture
def banks(polka: Running, banks: tuple[str, str, str]) -> tuple[str, str, str]:
    """With the first of them fees are agreed."""
    agree(polka.url, banks[0], FEES)
    return banks


def held(polka: Running, bank: str) -> dict[str, int]:
    found = client.get(f"{polka.url}/banks/{bank}").json()["balances"]
    return {position["currency"]: position["posted"] + (position["pending"] or 0) for position in found}


def test_a_bank_shows_the_fees_that_are_agreed(polka: Running, banks: tuple[str, str, str]) -> None:
    assert client.get(f"{polka.url}/banks/{banks[0]}").json()["fees"] == FEES
    changed = agree(polka.url, banks[0], {"USD": {"maximum": None}, "EUR": {"fixed": 5}})
    assert changed["fees"] == {
        "EUR": {"fixed": 5, "basis_points": 0, "minimum": 0, "maximum": None},
        "USD": {"fixed": 25, "basis_points": 10, "minimum": 30, "maximum": None},
    }
    assert agree(polka.url, banks[0], {"USD": None})["fees"].keys() == {"EUR"}
    assert agree(polka.url, banks[0], None)["fees"] == {}


@pytest.mark.parametrize(
    ("fees", "field"),
    [
        ({"XAU": {"fixed": 1}}, "fees.XAU"),
        ({"USD": {"fixed": -1}}, "fees.USD.fixed"),
        ({"USD": {"fixed": 0.5}}, "fees.USD.fixed"),
        ({"USD": {"basis_points": 10_001}}, "fees.USD.basis_points"),
        ({"USD": {"minimum": 5, "maximum": 4}}, "fees.USD"),
        ({"USD": {"percent": 1}}, "fees.USD.percent"),
        ({"USD": 5}, "fees.USD"),
        (5, "fees"),
    ],
)
def test_fees_that_cannot_be_are_refused(polka: Running, fees: Any, field: str) -> None:
    problem = refused(client.patch(f"{polka.url}/banks/bank1", json={"fees": fees}), 400, "invalid")
    assert problem["field"] == field


def test_a_fee_is_booked_with_the_payment(polka: Running, banks: tuple[str, str, str]) -> None:
    a, b, _ = banks
    made = post(polka, payment(100_000, a, b)).json()
    assert made["fee"] == 125
    assert payload_of(polka.database_url, made) == [
        (a, "A1", "USD", -100_000),
        (b, "B1", "USD", 100_000),
        (a, "A1", "USD", -125),
        ("polka", "fees", "USD", 125),
    ]
    wait_for("it has moved", lambda: (held(polka, a), held(polka, b)) == ({"USD": -100_125}, {"USD": 100_000}))
    assert client.get(f"{polka.url}/transaction/{made['id']}").json() | NOT_POSTED == made
    (found,) = client.get(f"{polka.url}/transactions", params={"bank": a}).json()["transactions"]
    assert found | NOT_POSTED == made


def test_a_payment_without_an_agreed_fee_has_none(polka: Running, banks: tuple[str, str, str]) -> None:
    a, b, _ = banks
    for body in (payment(100, b, a), payment(100, a, b, currency="EUR")):
        made = post(polka, body).json()
        assert "fee" not in made
        assert len(payload_of(polka.database_url, made)) == 2


def test_a_fee_of_nothing_is_shown_and_moves_nothing(polka: Running, banks: tuple[str, str, str]) -> None:
    a, b, _ = banks
    agree(polka.url, a, {"USD": {"fixed": None, "minimum": None}})
    made = post(polka, payment(100, a, b)).json()
    assert made["fee"] == 0
    assert len(payload_of(polka.database_url, made)) == 2
    client.delete(f"{polka.url}/transaction/{made['id']}").raise_for_status()


def test_a_deletion_gives_the_fee_back(polka: Running, banks: tuple[str, str, str]) -> None:
    """As it was, whatever is agreed by now."""
    a, b, _ = banks
    made = post(polka, payment(100_000, a, b)).json()
    agree(polka.url, a, {"USD": {"fixed": 40}})
    url = f"{polka.url}/transaction/{made['id']}"
    gone = client.delete(url).json()
    assert gone["fee"] == 125
    wait_for("it has moved back", lambda: (held(polka, a), held(polka, b)) == ({"USD": 0}, {"USD": 0}))
    (old,) = client.get(f"{url}/history").json()["old_versions"]
    assert old["transaction"] | NOT_POSTED == made


def test_an_amendment_costs_what_is_agreed_with_the_sender_at_that_instant(
    polka: Running, banks: tuple[str, str, str]
) -> None:
    a, b, c = banks
    made = post(polka, payment(100_000, a, b)).json()
    url = f"{polka.url}/transaction/{made['id']}"
    agree(polka.url, a, {"USD": {"fixed": 40}})
    assert client.patch(url, json={"reference": "x"}).json()["fee"] == 140
    assert "fee" not in client.patch(url, json={"sender": {"bank": c}}).json()
    agree(polka.url, c, {"USD": {"basis_points": 1}})
    last = client.patch(url, json={"receiver": {"account": "B2"}}).json()
    assert last["fee"] == 10
    assert payload_of(polka.database_url, last) == [
        (c, "A1", "USD", 100_000),
        (b, "B1", "USD", -100_000),
        (c, "A1", "USD", -100_000),
        (b, "B2", "USD", 100_000),
        (c, "A1", "USD", -10),
        ("polka", "fees", "USD", 10),
    ]
    wait_for("it has moved", lambda: (held(polka, a), held(polka, c)) == ({"USD": 0}, {"USD": -100_010}))
    found = client.get(f"{url}/history").json()
    assert [old["transaction"].get("fee") for old in found["old_versions"]] == [None, 140, 125]


def test_a_repeated_request_gets_the_fee_of_its_first_answer(
    polka: Running, banks: tuple[str, str, str], key: str
) -> None:
    a, b, _ = banks
    made = post(polka, payment(100_000, a, b), key).json()
    agree(polka.url, a, None)
    for api in (0, 1):
        again = post(polka, payment(100_000, a, b), key, api)
        assert (again.json(), again.headers["idempotency-replayed"]) == (made, "true")


def test_a_payment_across_currencies_costs_its_sender_in_the_currency_that_it_pays(
    polka: Running, banks: tuple[str, str, str]
) -> None:
    a, b, _ = banks
    made = post(polka, payment(100_000, a, b, receiver_currency="EUR")).json()
    assert (made["fee"], made["receiver_currency"]) == (125, "EUR")
    assert payload_of(polka.database_url, made)[4:] == [(a, "A1", "USD", -125), ("polka", "fees", "USD", 125)]
    changed = client.patch(f"{polka.url}/transaction/{made['id']}", json={"receiver": {"account": "B2"}}).json()
    assert {name: changed[name] for name in ("fee", "rate", "receiver_amount")} == {
        name: made[name] for name in ("fee", "rate", "receiver_amount")
    }
    client.delete(f"{polka.url}/transaction/{made['id']}").raise_for_status()
    wait_for("it has moved back", lambda: held(polka, a) == {"USD": 0})


@pytest.mark.parametrize("fields", [{}, {"receiver_currency": "EUR"}])
def test_a_cap_is_for_a_payment_with_its_fee(
    polka: Running, banks: tuple[str, str, str], fields: dict[str, Any]
) -> None:
    """A deletion makes room for both again, once it is posted."""
    a, b, _ = banks
    client.patch(f"{polka.url}/banks/{a}", json={"caps": {"USD": 10_000}}).raise_for_status()
    assert refused(post(polka, payment(9_966, a, b, **fields)), 409, "cap_exceeded")
    made = post(polka, payment(9_965, a, b, **fields)).json()  # and 34.965 of fee
    assert made["fee"] == 35
    assert refused(post(polka, payment(2, a, b, **fields)), 409, "cap_exceeded")
    client.delete(f"{polka.url}/transaction/{made['id']}").raise_for_status()
    wait_for("there is room again", lambda: post(polka, payment(9_965, a, b, **fields)).status_code == 201)


@pytest.mark.parametrize("mode", ["atomic", "each"])
def test_each_of_many_costs_what_is_agreed(polka: Running, banks: tuple[str, str, str], key: str, mode: str) -> None:
    a, b, c = banks
    items = [payment(1_000, a, b), payment(100_000, a, c), payment(100, b, a), payment(10**9, a, b)]
    response = client.post(
        f"{polka.url}/transactions", json=items, params={"mode": mode}, headers={"Idempotency-Key": key}
    )
    made = [result["transaction"] for result in response.json()["results"]]
    assert [transaction.get("fee") for transaction in made] == [30, 125, None, 500]
    wait_for("all has moved", lambda: held(polka, a) == {"USD": 100 - 1_000 - 100_000 - 10**9 - 655})
    again = client.post(
        f"{polka.apis[1].url}/transactions", json=items, params={"mode": mode}, headers={"Idempotency-Key": key}
    )
    assert again.json() == response.json()


def test_a_window_tells_what_each_bank_has_paid_as_fees(services: Services) -> None:
    """A fee that comes back counts in the window in which it does; the cache may start anew in between."""
    cache = services.cache().ready()
    api = services.api().ready()
    agree(api.url, "bank1", FEES)
    made = [send(api, payment(100_000)).json() for _ in range(3)]
    send(api, payment(7, "bank2", "bank1"))
    cache.kill()
    client.delete(f"{api.url}/transaction/{made[0]['id']}").raise_for_status()
    cache.restart()
    assert fees(api, 1) == {"bank1": 250, "bank2": 0, "polka": 0}
    client.post(f"{api.url}/clearing", json={"window": 1}).raise_for_status()
    client.delete(f"{api.url}/transaction/{made[1]['id']}").raise_for_status()
    client.post(f"{api.url}/clearing", json={"window": 2}).raise_for_status()
    assert fees(api, 1) == {"bank1": 250, "bank2": 0, "polka": 0}
    assert fees(api, 2) == {"bank1": -125, "bank2": 0, "polka": 0}
    text = client.get(f"{api.url}/clearing/1", params={"format": "csv"}).text.splitlines()
    assert text[0] == "window,bank,currency,debits,credits,count,fees,interest,net"
    assert text[1] == "1,bank1,USD,300375,100132,9,250,0,-200243"
    for window in (1, 2):
        assert client.post(f"{api.url}/clearing/{window}/settle").json()["state"] == "settled"
    assert {amount for (amount,) in fetch(services.database_url, "SELECT balance FROM balances")} == {0}
    prove(services.database_url, services.cache_url)


def fees(api: Service, window: int) -> dict[str, int]:
    return {total["bank"]: total["fees"] for total in client.get(f"{api.url}/clearing/{window}").json()["totals"]}


def test_no_payment_costs_what_is_not_agreed_any_more(services: Services) -> None:
    """Through an api that has not heard of the change yet: it decides anew."""
    services.cache().ready()
    first, second = services.api().ready(), services.api().ready()
    for fixed in (10, 20, 30, 40):
        agree(first.url, "bank1", {"USD": {"fixed": fixed}})
        assert {send(second, payment(100)).json()["fee"] for _ in range(3)} == {fixed}
    agree(first.url, "bank1", None)
    assert "fee" not in send(second, payment(100)).json()
    wait_for("all is posted", lambda: not fetch(services.database_url, UNPOSTED))
    prove(services.database_url, services.cache_url)


def test_a_polka_of_before_cannot_change_a_payment_that_cost_something(services: Services) -> None:
    """It would not give back the fee."""
    api = services.api().ready()
    agree(api.url, "bank1", FEES)
    made = send(api, payment(100)).json()
    for _ in range(2):
        with pytest.raises(asyncpg.CheckViolationError):
            asyncio.run(execute(services.database_url, CHANGE.format(id=made["id"])))
        client.patch(f"{api.url}/transaction/{made['id']}", json={"reference": "x"}).raise_for_status()


@pytest.mark.parametrize(("statement", "check_name"), IN_FEES.values(), ids=IN_FEES.keys())
def test_the_audit_finds_each_falsehood_about_a_fee(
    copy_database: Callable[[str], str], charged: str, statement: str, check_name: str
) -> None:
    copy = copy_database(charged)
    asyncio.run(execute(copy, statement))
    assert asyncio.run(snapshot.audit(copy)).differences[check_name]
