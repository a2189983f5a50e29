"""The api through its front door: payments, what is refused and why, and what was recorded."""

import json
import socket
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from exposed import page as shown
from exposed import value
from front_door import NOT_POSTED, everything, post, refused
from polka.local import postgres
from proof import prove
from running import Running, run_polka
from services import KEY, client, payment, wait_for


@pytest.fixture(scope="module", params=["true", "false"], ids=["directly", "by ASGI"])
def polka(
    request: pytest.FixtureRequest, server: postgres.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """One whose apis answer plain payments without ASGI, and another one whose apis do not."""
    with run_polka(server, tmp_path_factory.mktemp("polka"), POLKA_DIRECT_LANE=request.param) as running:
        yield running


def test_a_payment_is_recorded_and_answered(polka: Running, key: str) -> None:
    response = post(polka, payment(1250, reference="Rent, März €"), key)
    assert response.status_code == 201
    assert response.headers["content-type"] == "application/json"
    transaction = response.json()
    assert UUID(transaction["id"]).version == 7
    assert UUID(transaction["batch"]).version == 7
    expected = {"status": "accepted", "currency": "USD", "posted_at": None, **payment(1250, reference="Rent, März €")}
    assert {name: transaction[name] for name in expected} == expected
    found = client.get(f"{polka.url}/transaction/{transaction['id']}").json()
    assert found | NOT_POSTED == transaction
    assert client.get(f"{polka.apis[1].url}/transaction", params={"idempotency_key": key}).json()["id"] == found["id"]


def test_a_transaction_says_when_its_batch_was_posted(polka: Running) -> None:
    transaction = post(polka, payment()).json()
    url = f"{polka.url}/transaction/{transaction['id']}"
    posted_at = wait_for("it is posted", lambda: client.get(url).json()["posted_at"])
    assert posted_at > transaction["created_at"]


def test_the_latest_transaction(polka: Running) -> None:
    transaction = post(polka, payment(77)).json()
    assert client.get(f"{polka.url}/transaction").json()["id"] == transaction["id"]


def test_a_payment_moves_money_between_banks_and_accounts(polka: Running) -> None:
    for bank in ("mover", "taker"):
        assert client.post(f"{polka.url}/banks", json={"name": bank}).status_code == 201
    for amount, currency in ((100, "USD"), (250, "USD"), (7, "JPY")):
        assert post(polka, payment(amount, "mover", "taker", currency=currency)).status_code == 201

    def held(path: str) -> dict[str, int]:
        return {
            position["currency"]: position["posted"] + position["pending"]
            for position in client.get(f"{polka.url}{path}").json()["balances"]
        }

    wait_for("the sender owes", lambda: held("/banks/mover") == {"USD": -350, "JPY": -7})
    assert held("/banks/taker") == {"USD": 350, "JPY": 7}
    page = client.get(f"{polka.url}/banks/taker/accounts").json()
    assert [account["account"] for account in page["accounts"]] == ["B1"]
    sums = {held["currency"]: held["posted"] + held["pending"] for held in page["accounts"][0]["balances"]}
    assert sums == {"USD": 350, "JPY": 7}
    assert page["as_of"]["flush"] >= 0


def test_a_transaction_sent_twice_moves_money_once(polka: Running, key: str) -> None:
    first = post(polka, payment(5), key)
    again, elsewhere = post(polka, payment(5), key), post(polka, payment(5), key, api=1)
    assert first.headers.get("idempotency-replayed") is None
    for response in (again, elsewhere):
        assert response.status_code == 201
        assert response.headers["idempotency-replayed"] == "true"
        assert response.json() == first.json()
    same_body_in_other_words = b'{"receiver":{"account":"B1","bank":"bank2"},"amount":5,"sender":' + (
        b'{"bank":"bank1","account":"A1"}, "currency":"USD"}'
    )
    assert post(polka, same_body_in_other_words, key).json() == first.json()


def test_a_key_with_another_body_is_refused(polka: Running, key: str) -> None:
    assert post(polka, payment(5), key).status_code == 201
    for api in (0, 1):
        problem = refused(post(polka, payment(6), key, api), 422, "key_reused")
        assert problem["field"] == "Idempotency-Key"


def without(name: str) -> dict[str, Any]:
    return {field: value for field, value in payment().items() if field != name}


def with_account(account: Any) -> dict[str, Any]:
    return payment() | {"sender": {"bank": "bank1", "account": account}}


BAD: dict[str, tuple[Any, int, str, str | None, str]] = {
    "no JSON": (b"{", 400, "malformed", None, "JSON"),
    "no body": (b"", 400, "malformed", None, "JSON"),
    "no UTF-8": (b'{"reference":"\xff"}', 400, "malformed", None, "JSON"),
    "two documents": (json.dumps(payment()).encode() + b"{}", 400, "malformed", None, "trailing"),
    "a lone surrogate": (
        json.dumps(payment(reference="x")).replace('"x"', '"\\ud800"').encode(),
        400,
        "malformed",
        None,
        "JSON",
    ),
    "no object": (b"[]", 400, "invalid", None, "expected `object`"),
    "an amount as text": (
        payment() | {"amount": "5"},
        400,
        "invalid",
        "amount",
        "a whole number of minor units",
    ),
    "an amount as a float": (
        json.dumps(payment()).replace("100", "5.0").encode(),
        400,
        "invalid",
        "amount",
        "a whole number of minor units",
    ),
    "an amount with an exponent": (
        json.dumps(payment()).replace("100", "1e2").encode(),
        400,
        "invalid",
        "amount",
        "a whole number",
    ),
    "an amount of true": (
        payment() | {"amount": True},
        400,
        "invalid",
        "amount",
        "a whole number of minor units",
    ),
    "an amount of null": (
        payment() | {"amount": None},
        400,
        "invalid",
        "amount",
        "a whole number of minor units",
    ),
    "an amount of zero": (payment(0), 400, "invalid", "amount", "from 1 to"),
    "a negative amount": (payment(-5), 400, "invalid", "amount", "from 1 to"),
    "an amount above 10^15": (payment(10**15 + 1), 400, "invalid", "amount", "to 1000000000000000"),
    "an amount of 40 digits": (payment(10**40), 400, "invalid", "amount", ""),
    "no amount": (without("amount"), 400, "invalid", "amount", "is missing"),
    "no sender": (without("sender"), 400, "invalid", "sender", "is missing"),
    "no account": (payment() | {"sender": {"bank": "bank1"}}, 400, "invalid", "sender.account", "is missing"),
    "an unknown field": (payment(colour="red"), 400, "invalid", "colour", "is not a field here"),
    "an unknown field inside": (
        payment() | {"receiver": {"bank": "bank2", "account": "B1", "iban": "x"}},
        400,
        "invalid",
        "receiver.iban",
        "is not a field here",
    ),
    "an account of 35 letters": (with_account("A" * 35), 400, "invalid", "sender.account", "1 to 34"),
    "an empty account": (with_account(""), 400, "invalid", "sender.account", "1 to 34"),
    "an account with a blank": (with_account("A 1"), 400, "invalid", "sender.account", "1 to 34"),
    "an account with a line feed": (with_account("A1\n"), 400, "invalid", "sender.account", "1 to 34"),
    "an account in other letters": (with_account("Ä1"), 400, "invalid", "sender.account", "1 to 34"),
    "an account as a number": (with_account(5), 400, "invalid", "sender.account", "expected `str`"),
    "a reference of 141 letters": (payment(reference="x" * 141), 400, "invalid", "reference", "140"),
    "a reference with a NUL": (payment(reference="a\0b"), 400, "invalid", "reference", "control"),
    "an empty reference": (payment(reference=""), 400, "invalid", "reference", "140"),
    "a currency of four letters": (payment(currency="USDX"), 400, "invalid", "currency", "three letters"),
    "an unknown currency": (payment(currency="ABC"), 422, "unknown_currency", "currency", "ABC"),
    "a currency in small letters": (payment(currency="usd"), 422, "unknown_currency", "currency", "usd"),
    "no currency of payments": (payment(currency="XXX"), 422, "unknown_currency", "currency", "XXX"),
    "the same account": (
        payment(sender="bank1", receiver="bank1") | {"receiver": {"bank": "bank1", "account": "A1"}},
        422,
        "same_account",
        "receiver",
        "sender's own",
    ),
    "an unknown sender": (payment(sender="nobody"), 422, "unknown_bank", "sender.bank", "nobody"),
    "an unknown receiver": (payment(receiver="nobody"), 422, "unknown_bank", "receiver.bank", "nobody"),
    "a bank with a NUL": (payment(sender="b\0"), 422, "unknown_bank", "sender.bank", "no bank"),
    "an endless bank": (payment(sender="b" * 65), 400, "invalid", "sender.bank", "1 to 64"),
    "Polka itself": (payment(receiver="polka"), 422, "unknown_bank", "receiver.bank", "polka"),
    "a body over 64 KiB": (payment(reference="x" * 66_000), 413, "too_large", None, "65536"),
}


@pytest.mark.parametrize(("body", "status", "code", "field", "fact"), BAD.values(), ids=BAD.keys())
def test_bad_input_names_field_and_fact_and_leaves_nothing(
    polka: Running, body: Any, status: int, code: str, field: str | None, fact: str
) -> None:
    before = everything(polka)
    problem = refused(post(polka, body), status, code)
    assert problem.get("field") == field, problem
    assert fact in problem["detail"], problem
    assert everything(polka) == before


@pytest.mark.parametrize("bad", ["", "x" * 256, "ä", "a\tb"])
def test_a_bad_key_is_refused(polka: Running, bad: str) -> None:
    raw = [("Content-Type", "application/json"), ("Idempotency-Key", bad.encode("latin-1"))]
    response = client.post(f"{polka.url}/transaction", json=payment(), headers=raw)  # type: ignore[arg-type]
    assert refused(response, 400, "invalid")["field"] == "Idempotency-Key"


def test_two_keys_are_refused(polka: Running) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    response = client.post(f"{polka.url}/transaction", json=payment(), headers=headers)
    assert refused(response, 400, "invalid")["field"] == "Idempotency-Key"


@pytest.mark.parametrize("bad", ["", "5", "-1s", "0s", "1 s", "1d", "301s", "x"])
def test_a_bad_timeout_is_refused(polka: Running, bad: str) -> None:
    assert refused(post(polka, payment(), timeout=bad), 400, "invalid")["field"] == "timeout"
    response = client.post(f"{polka.url}/transaction", json=payment(), headers={"Request-Timeout": bad})
    assert refused(response, 400, "invalid")["field"] == "Request-Timeout"


def test_an_unknown_parameter_is_refused(polka: Running) -> None:
    assert refused(post(polka, payment(), tiemout="5s"), 400, "invalid")["field"] == "tiemout"


def test_a_refusal_is_the_keys_answer_for_good(polka: Running, key: str) -> None:
    """A client who was told no must not find later that an attempt of his went through after all."""
    refused(post(polka, payment(receiver="later"), key), 422, "unknown_bank")
    assert client.post(f"{polka.url}/banks", json={"name": "later"}).status_code == 201
    refused(post(polka, payment(receiver="later"), key), 422, "unknown_bank")
    refused(post(polka, payment(receiver="later"), key, api=1), 422, "unknown_bank")
    found = client.get(f"{polka.url}/transaction", params={"idempotency_key": key})
    refused(found, 422, "unknown_bank")
    assert post(polka, payment(receiver="later"), f"{key}-anew").status_code == 201


def test_a_transaction_posted_with_a_slash_at_the_end_is_the_same_route(polka: Running, key: str) -> None:
    """It comes past the fast lane, through Litestar, with the same answer."""
    first = post(polka, payment(9), key)
    again = client.post(f"{polka.url}/transaction/", json=payment(9), headers={"Idempotency-Key": key})
    assert again.status_code == 201
    assert again.json() == first.json()
    assert again.headers["content-type"] == "application/json"
    bad = client.post(f"{polka.url}/transaction/", json=payment(-1))
    assert refused(bad, 400, "invalid")["field"] == "amount"


def test_a_bank_with_blanks_in_its_name(polka: Running) -> None:
    response = client.post(f"{polka.url}/banks", json={"name": "First Bank of X"})
    assert response.status_code == 201
    assert client.get(polka.url + response.headers["location"]).json()["name"] == "First Bank of X"
    assert post(polka, payment(sender="First Bank of X"), api=1).status_code == 201


def test_a_payment_is_where_its_answer_says_and_at_its_plural(polka: Running) -> None:
    response = client.post(f"{polka.url}/transaction", json=payment())
    id = response.json()["id"]
    found = [client.get(polka.url + path) for path in (response.headers["location"], f"/transactions/{id}")]
    assert [one.json()["id"] for one in found] == [id, id]
    assert "location" not in found[0].headers


@pytest.mark.parametrize(
    "path", ["/transaction", "/transactions", "/banks", "/banks/no", "/clearing", "/rates", "/keys"]
)
def test_an_answer_in_json_ends_with_one_newline(polka: Running, path: str) -> None:
    client.post(f"{polka.url}/transaction", json=payment())
    for response in (client.get(polka.url + path), client.post(polka.url + path, json=payment())):
        assert response.content.endswith(b"}\n"), response.content
        assert int(response.headers["content-length"]) == len(response.content)


def test_a_request_in_pieces_and_two_in_one_packet(polka: Running) -> None:
    """HTTP as it comes: a body byte by byte, and pipelined requests answered in order."""
    body = json.dumps(payment(11)).encode()
    head = f"POST /transaction HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n".encode()
    head += b"Content-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", int(polka.url.rpartition(":")[2]))) as raw:
        for byte in head + body:
            raw.sendall(bytes([byte]))
        assert b"201 Created" in read_answer(raw)
        raw.sendall((head + body) * 3)
        for _ in range(3):
            assert b"201 Created" in read_answer(raw)


def test_an_offer_of_http_2_is_passed_over(polka: Running) -> None:
    """Java's client makes one with its first request."""
    body = json.dumps(payment(12)).encode()
    head = (
        b"POST /transaction HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Content-Length: %d\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", int(polka.url.rpartition(":")[2]))) as raw:
        raw.sendall(head % (KEY.encode(), len(body)) + body)
        assert b"201 Created" in read_answer(raw)


def read_answer(raw: socket.socket) -> bytes:
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += raw.recv(1)
    head = answer.lower()
    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    while length:
        part = raw.recv(length)
        answer, length = answer + part, length - len(part)
    return answer


def test_metrics_count_what_happened(polka: Running) -> None:
    def count(name: str, **labels: str) -> float:
        return value(polka.metrics_url, name, **labels) or 0

    route = {"method": "POST", "route": "/transaction", "status": "201"}
    requests, operations = "polka_http_requests_total", "polka_operations_total"
    before = count(requests, **route)
    accepted = count(operations, operation="payment", outcome="accepted")
    post(polka, payment())
    refused(post(polka, payment(-1)), 400, "invalid")
    assert count(requests, **route) == before + 1
    assert count(operations, operation="payment", outcome="accepted") == accepted + 1
    assert count(operations, operation="payment", outcome="invalid") >= 1
    assert count("polka_commit_payments_count") >= 1
    assert "/banks/bank1" not in shown(polka.metrics_url)


@pytest.fixture(scope="module", autouse=True)
def _audit_at_the_end(polka: Running) -> Iterator[None]:
    yield
    prove(polka.database_url, polka.cache.url)
