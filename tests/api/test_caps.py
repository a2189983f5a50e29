"""Net debit caps through the front door: what is refused, what is reserved, and what waits while nobody can check."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from bearers import key_of_bank, send
from databases import execute
from front_door import changed, fetch, post, refused
from running import Running
from services import Service, Services, client, payment, wait_for

CAP = 1_000


@pytest.fixture
def capped(polka: Running, key: str) -> Iterator[str]:
    """A bank of the test's own that may owe 1,000 USD at most."""
    name = f"{key}-capped"
    assert client.post(f"{polka.url}/banks", json={"name": name}).status_code == 201
    changed(polka, name, caps={"USD": CAP})
    yield name
    changed(polka, name, caps=None, fees=None)  # all tests share the api's memory of caps


def pay(polka: Running, amount: int, sender: str, receiver: str = "bank2", key: str | None = None, **more: Any) -> Any:
    return post(polka, payment(amount, sender, receiver, **more), key)


def held(polka: Running, bank: str) -> int:
    balances = client.get(f"{polka.url}/banks/{bank}").json()["balances"]
    return sum(balance["posted"] + balance["pending"] for balance in balances if balance["currency"] == "USD")


def posted(polka: Running, bank: str, amount: int) -> None:
    """Wait until the bank has this posted, and nothing pending."""

    def is_posted() -> bool:
        balances = client.get(f"{polka.url}/banks/{bank}").json()["balances"]
        return [(one["posted"], one["pending"]) for one in balances if one["currency"] == "USD"] == [(amount, 0)]

    wait_for(f"{bank} has {amount}", is_posted)


def over(response: httpx.Response) -> dict[str, Any]:
    """What a refusal says of the cap."""
    problem = refused(response, 409, "cap_exceeded")
    figures: dict[str, Any] = problem["overdraft"]
    for name in ("cap", "balance", "pending"):
        assert f"{figures[name] / 100:,.2f}" in problem["detail"]
    return figures


def test_a_bank_owes_no_more_than_its_cap(polka: Running, capped: str) -> None:
    assert pay(polka, 600, capped).status_code == 201
    figures = over(pay(polka, 401, capped))
    assert (figures["bank"], figures["currency"], figures["cap"]) == (capped, "USD", CAP)
    assert figures["balance"] + figures["pending"] == -600
    assert pay(polka, 400, capped).status_code == 201
    posted(polka, capped, -1_000)
    assert over(pay(polka, 1, capped)) == {
        "bank": capped,
        "currency": "USD",
        "cap": CAP,
        "balance": -1_000,
        "pending": 0,
    }
    assert pay(polka, 10**6, capped, currency="EUR").status_code == 201, "a cap is of one currency"


def test_a_payments_fee_counts_towards_the_cap(polka: Running, capped: str) -> None:
    changed(polka, capped, fees={"USD": {"fixed": 10}})
    over(pay(polka, 991, capped))
    assert pay(polka, 990, capped).json()["fee"] == 10
    posted(polka, capped, -CAP)


def test_what_a_bank_is_paid_it_may_pay_once_it_is_posted(polka: Running, capped: str) -> None:
    assert pay(polka, CAP, capped).status_code == 201
    assert pay(polka, 500, "bank2", capped).status_code == 201
    posted(polka, capped, -500)
    over(pay(polka, 501, capped))
    assert pay(polka, 500, capped).status_code == 201


def test_a_deletion_takes_no_more_from_the_receiver_than_its_cap(polka: Running, capped: str) -> None:
    made = pay(polka, 700, "bank2", capped).json()
    posted(polka, capped, 700)
    assert pay(polka, 1_100, capped).status_code == 201
    posted(polka, capped, -400)
    url = f"{polka.url}/transaction/{made['id']}"
    assert over(client.delete(url))["balance"] == -400
    assert client.get(url).json()["status"] == "accepted"
    assert pay(polka, 100, "bank2", capped).status_code == 201
    posted(polka, capped, -300)
    assert client.delete(url).json()["status"] == "deleted"
    posted(polka, capped, -1_000)


def test_a_sender_sees_no_figure_of_a_capped_receiver(polka: Running, capped: str, key: str) -> None:
    """When it deletes and when it amends, at once, replayed, and in what older versions stored. Operators see them."""
    headers = {**key_of_bank(polka.url, "bank2"), "Idempotency-Key": key}
    made = pay(polka, 700, "bank2", capped).json()
    posted(polka, capped, 700)
    assert pay(polka, 1_100, capped).status_code == 201
    posted(polka, capped, -400)
    for method, body in (("DELETE", None), ("PATCH", {"receiver": {"bank": "bank3"}})):
        answers = []
        for api in polka.apis:
            headers["Idempotency-Key"] = f"{key} {method}"
            answers.append(send(method, f"{api.url}/transaction/{made['id']}", headers, body))
            answers.append(send("GET", f"{api.url}/transaction?idempotency_key={key}%20{method}", headers))
        for answer in answers:
            problem = refused(answer, 409, "cap_exceeded")
            assert problem["detail"] == f"{capped} may not owe that much in USD."
            assert "overdraft" not in problem
    assert over(client.delete(f"{polka.url}/transaction/{made['id']}"))["balance"] == -400


def test_a_stored_refusal_of_an_older_version_shows_no_figure_to_others(polka: Running, key: str) -> None:
    """It has the figures in its text, also as one item of many."""
    overdraft = {"bank": "bank3", "currency": "USD", "cap": 1234, "balance": -5678, "pending": 0}
    stored = {"refusal": "CAP_EXCEEDED", "detail": "1234 -5678", "field": None, "items": None, "overdraft": overdraft}
    one, many = json.dumps(stored), json.dumps([stored])
    insert = "INSERT INTO idempotency_keys (caller, key, fingerprint, refusal, items) VALUES"
    rows = f"('bank2', '{key} one', '', '{one}', NULL), ('bank2', '{key} many', '', NULL, '{many}')"
    asyncio.run(execute(polka.database_url, f"{insert} {rows}"))
    for name in ("one", "many"):
        answer = send("GET", f"{polka.url}/transaction?idempotency_key={key}%20{name}", key_of_bank(polka.url, "bank2"))
        assert "cap_exceeded" in answer.text
        assert not re.search("1234|5678|overdraft", answer.text)


def test_an_amendment_lowers_no_balance_below_a_cap(polka: Running, capped: str) -> None:
    """To another sender, or from another receiver."""
    sent = pay(polka, 1_001, "bank2", "bank3").json()
    received = pay(polka, 2_000, "bank2", capped).json()
    posted(polka, capped, 2_000)
    assert pay(polka, 1_500, capped).status_code == 201
    posted(polka, capped, 500)
    for made, side in ((sent, {"sender": {"bank": capped}}), (received, {"receiver": {"bank": "bank3"}})):
        url = f"{polka.url}/transaction/{made['id']}"
        if side == {"sender": {"bank": capped}}:
            assert pay(polka, 500, capped).status_code == 201
            posted(polka, capped, 0)
        assert over(client.patch(url, json=side))["bank"] == capped
        assert client.get(url).json()["version"] == 1
    within = client.patch(f"{polka.url}/transaction/{received['id']}", json={"receiver": {"account": "C9"}})
    assert within.json()["version"] == 2, "the bank's balance stays"


def test_many_payments_are_checked_together_or_each_by_itself(polka: Running, capped: str) -> None:
    items = [payment(400, capped, "bank2") for _ in range(3)]
    url = f"{polka.url}/transactions"
    over(client.post(url, json=items))
    assert held(polka, capped) == 0
    each = client.post(url, json=items, params={"mode": "each"})
    assert each.status_code == 207
    assert [result["status"] for result in each.json()["results"]] == [201, 201, 409]
    assert each.json()["results"][2]["problem"]["overdraft"]["cap"] == CAP
    none = client.post(url, json=items, params={"mode": "each"})
    assert [result["status"] for result in none.json()["results"]] == [409, 409, 409]
    assert held(polka, capped) == -800


def test_a_refusal_for_a_cap_is_replayed_also_by_another_api(polka: Running, capped: str, key: str) -> None:
    body = payment(CAP + 1, capped)
    first = post(polka, body, key)
    over(first)
    changed(polka, capped, caps={"USD": 10 * CAP})
    for api in (0, 1):
        again = post(polka, body, key, api)
        assert again.json() == first.json()
    items = [payment(CAP * 20, capped, "bank2"), payment(1, capped, "bank2")]
    answers = [
        client.post(
            f"{polka.apis[api].url}/transactions",
            json=items,
            params={"mode": "each"},
            headers={"Idempotency-Key": f"{key}-many"},
        ).json()["results"]
        for api in (0, 1)
    ]
    assert [result["status"] for result in answers[0]] == [409, 201]
    assert answers[0][0] == answers[1][0]
    assert answers[0][1]["transaction"]["id"] == answers[1][1]["transaction"]["id"]


def test_whoever_comes_at_once_never_exceeds_the_cap_together(polka: Running, capped: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: post(polka, payment(30, capped), None, n % 2), range(64)))
    said = Counter(answer.json().get("code", "paid") for answer in answers)
    assert said == {"paid": CAP // 30, "cap_exceeded": 64 - CAP // 30}
    posted(polka, capped, -(CAP // 30) * 30)


def test_a_lowered_cap_holds_once_it_is_answered(polka: Running, capped: str) -> None:
    assert pay(polka, 300, capped).status_code == 201
    changed(polka, capped, caps={"USD": 200})
    over(pay(polka, 1, capped))
    assert pay(polka, 200, "bank2", capped).status_code == 201
    posted(polka, capped, -100)
    assert pay(polka, 100, capped).status_code == 201


def test_while_the_cache_is_away_only_what_needs_a_cap_checked_waits(polka: Running, capped: str, key: str) -> None:
    assert pay(polka, 100, capped).status_code == 201
    polka.cache.kill()
    body = payment(100, capped)
    began = time.monotonic()
    unchecked = post(polka, body, key, timeout="700ms")
    assert refused(unchecked, 503, "cap_unchecked")
    assert unchecked.headers["retry-after"] == "1"
    assert time.monotonic() - began >= 0.6
    for sender, receiver in (("bank2", "bank3"), ("bank2", capped)):
        assert pay(polka, 100, sender, receiver).status_code == 201
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(post, polka, body, key, 0, timeout="30s")
        polka.cache.restart()
        assert waiting.result().status_code == 201
    assert fetch(polka.database_url, f"SELECT count(*) FROM transactions WHERE sender_bank = '{capped}'") == [(2,)]


def test_a_repeated_refusal_takes_no_room_under_the_cap(services: Services) -> None:
    """No tombstone helps here within hours. The second api does not remember the refusal, and reserves first."""
    services.cache(POLKA_RESERVATION_SECONDS="9999", POLKA_PENDING_SECONDS="9999")
    apis = [services.api().ready() for _ in range(2)]
    bank = f"{apis[0].url}/banks/bank1"
    assert client.patch(bank, json={"caps": {"USD": CAP}}).status_code == 200

    def pays(api: Service, amount: int, key: str) -> int:
        headers = {"Idempotency-Key": key}
        answer = client.post(f"{api.url}/transaction", json=payment(amount, "bank1"), headers=headers)
        return answer.status_code

    assert pays(apis[0], CAP + 1, "over") == 409
    assert client.patch(bank, json={"caps": {"USD": CAP + 1}}).status_code == 200
    assert [pays(apis[1], CAP + 1, "over") for _ in range(3)] == [409] * 3
    wait_for("its room is free again", lambda: pending_of(apis[0], "bank1") == 0)
    assert pays(apis[0], CAP + 1, "another") == 201


def pending_of(api: Service, bank: str) -> int:
    balances = client.get(f"{api.url}/banks/{bank}").json()["balances"]
    return sum(one["pending"] for one in balances)
