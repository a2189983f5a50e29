"""Payments across currencies: what each side gets, by which rates, what is booked, and what becomes of it later."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any

import asyncpg
import pytest

from api.posting.exchange import TRUSTED_SECONDS
from committed import CHANGE
from converted import ACROSS
from databases import execute
from falsehoods import IN_CONVERSIONS
from front_door import NOT_POSTED, UNPOSTED, everything, fetch, payload_of, post, refused, send
from polka.audit import snapshot
from polka.rules.money import AMOUNT_MAX
from proof import prove
from running import Running
from services import Service, Services, client, payment, wait_for
from stored_rates import RECORDED, store, today

pytestmark = pytest.mark.audited

GOT = {
    "receiver_amount": 1396,  # 1396.5
    "receiver_currency": "USD",
    "rate": "1.1172",
    "rate_date": "2026-10-30",
    "rate_version": 1,
}


def held(polka: Running, bank: str) -> dict[str, int]:
    found = client.get(f"{polka.url}/banks/{bank}").json()["balances"]
    return {position["currency"]: position["posted"] + (position["pending"] or 0) for position in found}


def test_the_receiver_gets_another_currency_by_the_rates_in_force(polka: Running, banks: tuple[str, str, str]) -> None:
    a, b, _ = banks
    response = post(polka, payment(1250, a, b, reference="Rent", **ACROSS))
    assert response.status_code == 201
    made = response.json()
    assert (made["amount"], made["currency"]) == (1250, "EUR")
    assert {name: made[name] for name in GOT} == GOT
    assert payload_of(polka.database_url, made) == [
        (a, "A1", "EUR", -1250),
        ("polka", "conversion", "EUR", 1250),
        ("polka", "conversion", "USD", -1396),
        (b, "B1", "USD", 1396),
    ]
    wait_for("it has moved", lambda: (held(polka, a), held(polka, b)) == ({"EUR": -1250}, {"USD": 1396}))
    assert client.get(f"{polka.url}/transaction/{made['id']}").json() | NOT_POSTED == made
    (found,) = client.get(f"{polka.url}/transactions", params={"bank": b}).json()["transactions"]
    assert found | NOT_POSTED == made


@pytest.mark.parametrize("fields", [{}, {"receiver_currency": "USD"}, {"receiver_currency": None}])
def test_the_same_currency_is_a_payment_like_any_other(
    polka: Running, banks: tuple[str, str, str], fields: dict[str, Any]
) -> None:
    made = post(polka, payment(1250, *banks[:2], **fields)).json()
    assert not GOT.keys() & made.keys()
    assert len(payload_of(polka.database_url, made)) == 2


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"receiver_currency": "usd"}, 422, "unknown_currency", "receiver_currency"),
        ({"receiver_currency": ""}, 422, "unknown_currency", "receiver_currency"),
        ({"receiver_currency": "XAU"}, 422, "unknown_currency", "receiver_currency"),
        ({"receiver_currency": "DOLLAR"}, 400, "invalid", "receiver_currency"),
        ({"receiver_currency": 840}, 400, "invalid", "receiver_currency"),
        ({"receiver_currency": "KWD"}, 422, "no_rate", "receiver_currency"),
        ({"currency": "KWD", "receiver_currency": "EUR"}, 422, "no_rate", "currency"),
        ({"amount": AMOUNT_MAX, "currency": "EUR"}, 422, "amount_too_large", "amount"),
        ({"amount": 20_275, "currency": "IDR"}, 422, "amount_too_small", "amount"),
    ],
)
def test_what_cannot_be_paid_across_currencies_names_the_field(
    polka: Running, key: str, fields: dict[str, Any], status: int, code: str, field: str
) -> None:
    body = payment(**{"receiver_currency": "JPY" if "currency" in fields else "EUR"} | fields)
    if fields.get("currency") == "IDR":
        body["receiver_currency"] = "EUR"
    before = everything(polka)[:2]
    for api in (0, 1):
        problem = refused(post(polka, body, key, api), status, code)
        assert problem["field"] == field
        assert problem["detail"].startswith(f"{field}: ")
    assert everything(polka)[:2] == before


def test_a_payment_to_the_same_account_is_refused_in_any_currency(polka: Running) -> None:
    body = payment(100, receiver_currency="EUR") | {"receiver": payment()["sender"]}
    assert refused(post(polka, body), 422, "same_account")["field"] == "receiver"


def test_a_deletion_moves_back_what_each_side_had(polka: Running, banks: tuple[str, str, str]) -> None:
    a, b, _ = banks
    made = post(polka, payment(1250, a, b, **ACROSS)).json()
    url = f"{polka.url}/transaction/{made['id']}"
    gone = client.delete(url, headers={"Idempotency-Key": f"{a} delete"}).json()
    assert {name: gone[name] for name in GOT} == GOT
    assert payload_of(polka.database_url, gone) == [
        (a, "A1", "EUR", 1250),
        ("polka", "conversion", "EUR", -1250),
        ("polka", "conversion", "USD", 1396),
        (b, "B1", "USD", -1396),
    ]
    wait_for("it has moved back", lambda: (held(polka, a), held(polka, b)) == ({"EUR": 0}, {"USD": 0}))
    assert client.delete(url, headers={"Idempotency-Key": f"{a} delete"}).json() == gone
    (old,) = client.get(f"{url}/history").json()["old_versions"]
    assert old["transaction"] | NOT_POSTED == made


def test_an_amendment_keeps_amounts_and_rate(services: Services) -> None:
    """Also when there are newer rates."""
    services.cache().ready()
    api = services.api().ready()
    made = send(api, payment(1250, **ACROSS)).json()
    store(services.database_url, today(), "2")
    wait_for("they are in force", lambda: send(api, payment(1, **ACROSS)).json()["rate"] == "2")
    url = f"{api.url}/transaction/{made['id']}"
    new = client.patch(url, json={"sender": {"account": "A7"}, "receiver": {"bank": "bank3"}}).json()
    assert {name: new[name] for name in GOT} == GOT
    assert (new["version"], new["receiver"]["bank"]) == (2, "bank3")
    assert payload_of(services.database_url, new)[4:] == [
        ("bank1", "A7", "EUR", -1250),
        ("polka", "conversion", "EUR", 1250),
        ("polka", "conversion", "USD", -1396),
        ("bank3", "B1", "USD", 1396),
    ]
    gone = client.delete(url).json()
    assert {name: gone[name] for name in GOT} == GOT
    wait_for("all is posted", lambda: not fetch(services.database_url, UNPOSTED))
    prove(services.database_url, services.cache_url)
    assert client.patch(url, json={"receiver_currency": "JPY"}).json()["detail"].startswith("receiver_currency: cannot")


def test_a_repeated_request_gets_its_first_rate_again(services: Services) -> None:
    """Through each api, by newer rates, and when they are too old to convert by."""
    first, second = services.api().ready(), services.api(POLKA_RATES_AGE_LIMIT_DAYS="3").ready()
    made = send(first, payment(1250, **ACROSS), "key").json()
    for day, rate in ((today(), "2"), (today(), "3")):
        store(services.database_url, day, rate)
        for api in (first, second):
            shown = send_until(api, rate)
            assert shown["rate_date"] == str(day)
            again = send(api, payment(1250, **ACROSS), "key")
            assert (again.status_code, again.json()) == (201, made)
            assert again.headers["idempotency-replayed"] == "true"
            refused(send(api, payment(1250, currency="EUR"), "key"), 422, "key_reused")
    age(services, 4)
    wait_for("they are too old", lambda: send(second, payment(1250, **ACROSS)).status_code == 503)
    problem = refused(send(second, payment(1250, **ACROSS), "another key"), 503, "rates_stale")
    assert str(today() - timedelta(days=4)) in problem["detail"]
    assert send(second, payment(1250, **ACROSS), "key").json() == made
    assert send(second, payment(1250)).status_code == 201
    store(services.database_url, today(), "4")
    send_until(second, "4")
    assert send(second, payment(1250, **ACROSS), "another key").json()["rate"] == "4"


def send_until(api: Service, rate: str) -> Any:
    """A payment by this rate, once that is in force."""
    return wait_for(
        f"the rate is {rate}",
        lambda: (made := send(api, payment(1250, **ACROSS)).json()).get("rate") == rate and made,
    )


def age(services: Services, days: int) -> None:
    """Have all rates be of so many days ago. What was paid by them is not audited any more."""
    sets = "TRUNCATE rates, rate_sets"
    asyncio.run(execute(services.database_url, sets))
    store(services.database_url, today() - timedelta(days=days), "1.5")


def test_new_rates_are_in_force_within_seconds(services: Services) -> None:
    api = services.api().ready()
    assert send(api, payment(1000, **ACROSS)).json()["rate"] == "1.1172"
    store(services.database_url, today(), "1.25")
    made = wait_for(
        "they are in force",
        lambda: (found := send(api, payment(1000, **ACROSS)).json())["rate"] == "1.25" and found,
        seconds=10,
    )
    assert (made["receiver_amount"], made["rate_date"], made["rate_version"]) == (1250, str(today()), 1)


def test_an_api_that_was_not_scheduled_for_long_converts_at_once(services: Services) -> None:
    """Its rates are old, and it reads them again before it refuses."""
    api = services.api().ready()
    os.kill(api.process.pid, signal.SIGSTOP)
    time.sleep(TRUSTED_SECONDS + 1)
    os.kill(api.process.pid, signal.SIGCONT)
    assert send(api, payment(1250, **ACROSS)).status_code == 201
    assert bulk(api.url, [payment(1250, **ACROSS)]).status_code == 201


def bulk(url: str, items: list[Any], mode: str = "atomic", key: str | None = None) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(f"{url}/transactions", json=items, params={"mode": mode}, headers=headers)


def test_amounts_of_all_sizes_are_what_the_exact_rate_says(polka: Running) -> None:
    """Against fractions, and the audit recomputes them in SQL."""
    rates = {code: Fraction(text) for code, text in client.get(f"{polka.url}/rates").json()["rates"].items()}
    rates["EUR"] = Fraction(1)
    digits = {"EUR": 2, "USD": 2, "JPY": 0, "ISK": 0, "GBP": 2}
    for source in digits:
        for target in digits.keys() - {source}:
            amounts = [10**5 // n + n for n in range(1, 40)] + [1250, 3750, 625 * 10**8]
            items = [payment(amount, currency=source, receiver_currency=target) for amount in amounts]
            results = bulk(polka.url, items).json()["results"]
            for amount, result in zip(amounts, results, strict=True):
                exact = amount * rates[target] / rates[source] * Fraction(10) ** (digits[target] - digits[source])
                assert result["transaction"]["receiver_amount"] == floor(exact), (amount, source, target)


def test_many_at_once_are_converted_one_by_one(polka: Running, key: str) -> None:
    items = [
        payment(1250, **ACROSS),
        payment(1250),
        payment(1, currency="IDR", receiver_currency="EUR"),
        payment(5, receiver_currency="KWD"),
    ]
    problem = refused(bulk(polka.url, items), 422, "items_refused")
    assert [(item["index"], item["code"]) for item in problem["items"]] == [(2, "amount_too_small"), (3, "no_rate")]
    done = bulk(polka.url, items, "each", key)
    assert done.status_code == 207
    results = done.json()["results"]
    assert [result["status"] for result in results] == [201, 201, 422, 422]
    assert {name: results[0]["transaction"][name] for name in GOT} == GOT
    assert not GOT.keys() & results[1]["transaction"].keys()
    again = bulk(polka.apis[1].url, items, "each", key)
    assert (again.headers["idempotency-replayed"], again.json()) == ("true", done.json())


def test_many_at_once_wait_for_rates_all_or_none(services: Services) -> None:
    api = services.api(POLKA_RATES_RECORDED="false").ready()
    items = [payment(1250, **ACROSS), payment(1250)]
    refused(bulk(api.url, items, key="key"), 503, "rates_stale")
    results = bulk(api.url, items, "each").json()["results"]
    assert [(result["status"], result.get("problem", {}).get("code")) for result in results] == [
        (503, "rates_stale"),
        (201, None),
    ]
    store(services.database_url, today(), "2")
    send_until(api, "2")
    assert bulk(api.url, items, key="key").status_code == 201


def test_a_cache_that_starts_anew_has_both_currencies(services: Services) -> None:
    cache = services.cache().ready()
    api = services.api().ready()
    made = [send(api, payment(1250, **ACROSS)).json() for _ in range(5)]
    cache.kill()
    send(api, payment(1250, **ACROSS))
    client.delete(f"{api.url}/transaction/{made[0]['id']}")
    cache.restart()
    wait_for("all is posted", lambda: not fetch(services.database_url, UNPOSTED))
    prove(services.database_url, services.cache_url)
    stored = fetch(services.database_url, "SELECT bank, currency, balance FROM balances ORDER BY 1, 2")
    assert stored == [
        ("bank1", "EUR", -6250),
        ("bank2", "USD", 6980),
        ("polka", "EUR", 6250),
        ("polka", "USD", -6980),
    ]


def test_polka_settles_what_it_has_converted_like_any_bank(services: Services) -> None:
    cache = services.cache().ready()
    api = services.api().ready()
    send(api, payment(1250, **ACROSS))
    send(api, payment(1000, "bank2", "bank1"))
    assert client.post(f"{api.url}/clearing", json={"window": 1}).json()["state"] == "closed"
    netting = wait_for("it is netted", lambda: client.get(f"{api.url}/clearing/1").json()["netting"])
    figures = {one.pop("currency"): one for one in netting}
    assert figures == {
        "EUR": {"gross": 1250, "bilateral": 1250, "multilateral": 1250, "saving": 0},
        # Polka owes bank2 1396, and bank2 owes bank1 1000: of the three, bank2 gets 396 and bank1 1000.
        "USD": {"gross": 2396, "bilateral": 2396, "multilateral": 1396, "saving": 1000},
    }
    assert client.post(f"{api.url}/clearing/1/settle").json()["state"] == "settled"
    assert {amount for (amount,) in fetch(services.database_url, "SELECT balance FROM balances")} == {0}
    prove(services.database_url, cache.url)


def test_a_polka_of_before_cannot_change_what_it_does_not_know(services: Services) -> None:
    """It would reverse two entries of four. What it knows it changes as ever, and pays."""
    api = services.api().ready()
    plain, across = (send(api, payment(1250, **fields)).json() for fields in ({}, ACROSS))
    asyncio.run(execute(services.database_url, CHANGE.format(id=plain["id"])))
    with pytest.raises(asyncpg.CheckViolationError):
        asyncio.run(execute(services.database_url, CHANGE.format(id=across["id"])))
    asyncio.run(execute(services.database_url, PAY))


PAY = """
INSERT INTO transactions (id, batch, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency)
VALUES (gen_random_uuid(), gen_random_uuid(), 'bank1', 'A1', 'bank2', 'B1', 100, 'USD')
"""
"""As they were before there were payments across currencies."""


def test_payments_of_an_older_polka_keep_their_rounding(services: Services) -> None:
    """An older api rounds half to even, before the upgrade and beside newer apis. It may also change newer payments."""
    asyncio.run(execute(services.database_url, f"{OLD_BATCH_ROW}; {OLD_ROW}"))
    services.cache(POLKA_AUDIT_SECONDS="1").ready()
    api = services.api().ready()
    made = send(api, payment(1252, **ACROSS)).json()
    assert made["receiver_amount"] == 1398
    for id in (OLD_ID, made["id"]):
        url = f"{api.url}/transaction/{id}"
        assert client.patch(url, json={"receiver": {"account": "B2"}}).is_success
        assert client.delete(url).json()["receiver_amount"] == (1399 if id == OLD_ID else 1398)
    wait_for("all is posted", lambda: not fetch(services.database_url, UNPOSTED))
    prove(services.database_url, services.cache_url)
    (flush,) = fetch(services.database_url, "SELECT number FROM flush")
    proved = f"SELECT faults FROM audit_runs WHERE flush >= {flush[0]}"
    assert wait_for("the background audit is there", lambda: fetch(services.database_url, proved)) == [(0,)]
    asyncio.run(execute(services.database_url, f"UPDATE transactions SET rounded_down = true WHERE id = '{OLD_ID}'"))
    found = asyncio.run(snapshot.audit(services.database_url)).differences
    assert len(found["A receiver gets what the stored rates say, rounded down"]) == 3, "each version of it"


OLD_ID, OLD_BATCH = (f"01900000-0000-7000-8000-00000000000{digit}" for digit in "12")
OLD_ROW = f"""
INSERT INTO transactions (id, batch, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency,
                          receiver_amount, receiver_currency, rate, rate_date, rate_version, booked_version)
VALUES ('{OLD_ID}', '{OLD_BATCH}', 'bank1', 'A1', 'bank2', 'B1', 1252, 'EUR', 1399, 'USD', 1.1172, '2026-10-30', 1, 1)
"""  # 1398.7
OLD_BATCH_ROW = f"""
INSERT INTO batches (id, size, policy, payload) VALUES ('{OLD_BATCH}', 1, 0, '[
    ["bank1", "A1", "EUR", -1252], ["polka", "conversion", "EUR", 1252],
    ["polka", "conversion", "USD", -1399], ["bank2", "B1", "USD", 1399]
]')
"""


def test_small_conversions_pump_nothing_out_of_polka(polka: Running, banks: tuple[str, str, str]) -> None:
    """12,159 IDR are half of a penny. Rounded to the nearest they would be a whole one, 5,000 times a second."""
    a = banks[0]

    def pay(amount: int, source: str, target: str, times: int) -> list[dict[str, Any]]:
        body = payment(amount, a, a, currency=source, receiver_currency=target)
        results: list[dict[str, Any]] = []
        for first in range(0, times, 1_000):
            results += bulk(polka.url, [body] * min(1_000, times - first), "each").json()["results"]
        return results

    assert {one["problem"]["code"] for one in pay(12_159, "IDR", "GBP", 5_000)} == {"amount_too_small"}
    smallest = next(n for n in range(24_316, 24_400) if pay(n, "IDR", "GBP", 1)[0]["status"] == 201)
    assert {one["transaction"]["receiver_amount"] for one in pay(smallest, "IDR", "GBP", 5_000)} == {1}
    back = pay(5_001, "GBP", "IDR", 1)[0]["transaction"]["receiver_amount"]
    assert back <= 5_001 * smallest
    wait_for("all is posted", lambda: not fetch(polka.database_url, UNPOSTED))
    assert held(polka, a) == {"IDR": back - 5_001 * smallest, "GBP": 0}


@pytest.mark.parametrize(("statement", "check_name"), IN_CONVERSIONS.values(), ids=IN_CONVERSIONS.keys())
def test_the_audit_finds_each_falsehood_about_a_conversion(
    copy_database: Callable[[str], str], converted: str, statement: str, check_name: str
) -> None:
    copy = copy_database(converted)
    asyncio.run(execute(copy, statement))
    assert asyncio.run(snapshot.audit(copy)).differences[check_name]


def test_what_the_recorded_rates_say_is_said_of_the_payment(polka: Running) -> None:
    made = post(polka, payment(1250, **ACROSS)).json()
    assert (made["rate_date"], made["rate_version"]) == (RECORDED["date"], RECORDED["version"])
    assert Decimal(made["rate"]) == Decimal("1.1172")
