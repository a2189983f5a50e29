"""Many payments in one request: all or none, or each by itself, and the same answer to the same request."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import msgspec
import pytest

from front_door import NOT_POSTED, everything, fetch, refused
from proof import prove
from running import Running
from services import client, payment


def send(
    polka: Running, body: Any, key: str | None = None, api: int = 0, form: str = "json", **params: str
) -> httpx.Response:
    content = body if isinstance(body, bytes) else getattr(msgspec, form).encode(body)
    headers = {"Content-Type": f"application/{form}"} | ({"Idempotency-Key": key} if key else {})
    return client.post(f"{polka.apis[api].url}/transactions", content=content, headers=headers, params=params)


@pytest.mark.parametrize("form", ["json", "msgpack"])
@pytest.mark.parametrize("mode", ["atomic", "each"])
def test_a_thousand_payments_are_made_in_one_batch(polka: Running, form: str, mode: str) -> None:
    body = [payment(n, reference=f"no. {n}") for n in range(1, 1_001)]
    response = send(polka, body, form=form, mode=mode)
    assert response.status_code == 201
    results = response.json()["results"]
    assert [result["status"] for result in results] == [201] * 1_000
    made = [result["transaction"] for result in results]
    assert [transaction["amount"] for transaction in made] == list(range(1, 1_001))
    assert len({transaction["batch"] for transaction in made}) == 1
    found = client.get(f"{polka.apis[1].url}/transaction/{made[500]['id']}").json()
    assert found | NOT_POSTED == made[500]


MIXED = [
    payment(1),
    payment(-1),
    payment(2, receiver="nobody"),
    payment(3) | {"receiver": payment()["sender"]},
    {"sender": 5},
    payment(4),
]
WHY = {1: ("invalid", "amount"), 2: ("unknown_bank", "receiver.bank"), 3: ("same_account", "receiver")} | {
    4: ("invalid", "sender")
}


def test_all_or_none_says_which_items_are_refused_and_why(polka: Running, key: str) -> None:
    before = everything(polka)
    problem = refused(send(polka, MIXED), 422, "items_refused")
    assert "4 of 6" in problem["detail"]
    assert {item["index"]: (item["code"], item["field"]) for item in problem["items"]} == WHY
    assert all(item["detail"].startswith(item["field"]) for item in problem["items"])
    assert everything(polka) == before
    first = refused(send(polka, MIXED, key), 422, "items_refused")
    assert refused(send(polka, MIXED, key, api=1), 422, "items_refused") == first


def test_each_by_itself_has_a_result_for_each(polka: Running, key: str) -> None:
    response = send(polka, MIXED, key, mode="each")
    assert response.status_code == 207
    results = response.json()["results"]
    assert [result["status"] for result in results] == [201, 400, 422, 422, 400, 201]
    for index, (code, field) in WHY.items():
        assert (results[index]["problem"]["code"], results[index]["problem"]["field"]) == (code, field)
    assert [results[index]["transaction"]["amount"] for index in (0, 5)] == [1, 4]
    again = send(polka, MIXED, key, api=1, mode="each")
    assert (again.status_code, again.json()) == (207, response.json())
    assert again.headers["idempotency-replayed"] == "true"


def test_each_of_which_none_is_good_is_the_keys_answer_too(polka: Running, key: str) -> None:
    body = [payment(0), payment(5, sender="later still")]
    first = send(polka, body, key, mode="each")
    assert first.status_code == 207
    assert client.post(f"{polka.url}/banks", json={"name": "later still"}).status_code == 201
    for api in (0, 1):
        again = send(polka, body, key, api, mode="each")
        assert (again.status_code, again.json()) == (207, first.json())


def test_a_request_sent_twice_moves_money_once(polka: Running, key: str) -> None:
    body = [payment(n) for n in range(1, 101)]
    first = send(polka, body, key)
    client.delete(f"{polka.url}/transaction/{first.json()['results'][3]['transaction']['id']}")
    for api in (0, 1):
        again = send(polka, body, key, api)
        assert (again.status_code, again.json()) == (201, first.json())
        assert again.headers["idempotency-replayed"] == "true"
        same = send(polka, body, key, api, form="msgpack")
        assert same.json() == first.json()
    refused(send(polka, body[1:], key), 422, "key_reused")
    refused(send(polka, body, key, mode="each"), 422, "key_reused")
    found = client.get(f"{polka.url}/transaction", params={"idempotency_key": key})
    assert found.json() == first.json()


def test_the_same_request_through_two_apis_at_once_moves_money_once(polka: Running, key: str) -> None:
    body = [payment(n, reference=key) for n in range(1, 51)]
    with ThreadPoolExecutor(8) as threads:
        sent = [threads.submit(send, polka, body, f"{key}-{n // 4}", n % 2) for n in range(40)]
    answers = [one.result() for one in sent]
    assert {answer.status_code for answer in answers} == {201}
    for start in range(0, 40, 4):
        assert len({answer.text for answer in answers[start : start + 4]}) == 1
    count = f"SELECT count(*) FROM transactions WHERE reference = '{key}'"
    assert fetch(polka.database_url, count) == [(500,)]


BAD: dict[str, tuple[Any, int, str, str]] = {
    "no JSON": (b"[", 400, "malformed", "JSON"),
    "no list": (payment(), 400, "invalid", "expected `array`"),
    "nothing": ([], 400, "invalid", "1 to 1,000"),
    "too many": ([payment()] * 1_001, 400, "invalid", "1 to 1,000"),
    "too much": ([payment(reference="x" * 140)] * 5_000, 413, "too_large", "1048576"),
}


@pytest.mark.parametrize(("body", "status", "code", "fact"), BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("mode", ["atomic", "each"])
def test_a_bad_body_leaves_nothing(polka: Running, body: Any, status: int, code: str, fact: str, mode: str) -> None:
    before = everything(polka)
    assert fact in refused(send(polka, body, mode=mode), status, code)["detail"]
    assert everything(polka) == before


def test_a_body_that_is_no_message_pack(polka: Running) -> None:
    assert "MessagePack" in refused(send_bytes(polka, b"\x91\xc1"), 400, "malformed")["detail"]


def send_bytes(polka: Running, content: bytes) -> httpx.Response:
    headers = {"Content-Type": "application/msgpack"}
    return client.post(f"{polka.url}/transactions", content=content, headers=headers)


def test_a_mode_that_there_is_not(polka: Running) -> None:
    assert refused(send(polka, [payment()], mode="some"), 400, "invalid")["field"] == "mode"


@pytest.fixture(scope="module", autouse=True)
def _audit_at_the_end(polka: Running) -> Iterator[None]:
    yield
    prove(polka.database_url, polka.cache.url)
