"""How requests are read: depth, whole numbers, single headers, methods, encodings, parameters, late bodies."""

import json
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest

from front_door import everything, fetch, post, refused
from running import Running
from services import CACHE_TOKEN, KEY, cache_client, client, payment, wait_for

DEPTH = 10_000
NESTED = (b"[" * DEPTH, b'{"a":' * DEPTH, b'{"name":' + b"[" * DEPTH, b"[" * DEPTH + b"]" * DEPTH)
NESTED_MESSAGE_PACK = (b"\x91" * DEPTH, b"\x81\xa1a" * DEPTH, b"\x91\x81\xa6sender" + b"\x91" * DEPTH)
WITH_BODY = [
    ("POST", "/transaction"),
    ("POST", "/transaction/"),
    ("POST", "/transactions"),
    ("POST", "/transactions?mode=each"),
    ("PATCH", "/transaction/00000000-0000-0000-0000-000000000000"),
    ("POST", "/banks"),
    ("PATCH", "/banks/bank1"),
    ("POST", "/keys"),
    ("POST", "/clearing"),
    ("POST", "/drills"),
]
READ = [
    "/hello",
    "/schema",
    "/schema/openapi.json",
    "/schema/scalar.js",
    "/console",
    "/console/app.js",
    "/transaction",
    "/transactions",
    "/banks",
    "/banks/bank1",
    "/banks/bank1/accounts",
    "/clearing",
    "/clearing/1",
    "/liquidity",
    "/liquidity/history?currency=USD",
    "/audit",
    "/currencies",
    "/rates",
    "/convert?from=USD&to=JPY&amount=5",
    "/keys",
]


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
def test_a_body_that_is_nested_deeply_cannot_be_read(polka: Running, method: str, path: str) -> None:
    for body in NESTED:
        answer = client.request(method, polka.url + path, content=body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["code"] in ("malformed", "invalid")
    assert client.request(method, polka.url + path, content=b"[" * DEPTH).status_code == 400
    assert "RecursionError" not in polka.apis[0].log.read_text()


@pytest.mark.parametrize("mode", ["atomic", "each"])
def test_message_pack_that_is_nested_deeply_cannot_be_read(polka: Running, mode: str) -> None:
    for body in NESTED_MESSAGE_PACK:
        headers = {"Content-Type": "application/msgpack"}
        answer = client.post(f"{polka.url}/transactions?mode={mode}", content=body, headers=headers)
        assert answer.status_code == 400, answer.text
    assert "RecursionError" not in polka.apis[0].log.read_text()


@pytest.mark.parametrize("path", ["/balance", "/balance/reservation", "/policy", "/clearing", "/pulse"])
def test_the_cache_reads_no_body_that_is_nested_deeply(polka: Running, path: str) -> None:
    for body in NESTED:
        assert cache_client.post(polka.cache.url + path, content=body).status_code == 400
    assert "RecursionError" not in polka.cache.log.read_text()


@pytest.mark.parametrize("value", ["1e2", "1.0", "1_0", "+1", " 1", "1 ", "01", "0x1", "١", "１", "1e400", ""])
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/transactions", "limit"),
        ("/transactions", "amount_min"),
        ("/transactions", "amount_max"),
        ("/convert?from=USD&to=JPY", "amount"),
        ("/banks", "limit"),
        ("/banks/bank1/accounts", "limit"),
        ("/clearing", "cursor"),
        ("/clearing", "before"),
        ("/liquidity", "caps"),
        ("/liquidity/history?currency=USD", "limit"),
        ("/audit", "limit"),
        ("/keys", "limit"),
    ],
)
def test_a_whole_number_is_written_as_one(polka: Running, path: str, field: str, value: str) -> None:
    mark = "&" if "?" in path else "?"
    assert refused(client.get(f"{polka.url}{path}{mark}{field}={quote(value)}"), 400, "invalid")["field"] == field
    assert client.get(f"{polka.url}{path}{mark}{field}=1").status_code == 200


@pytest.mark.parametrize("value", ["1e0", "1.0", "+1", "%201", "1_0", "%D9%A1", "01", "99999999999999999999"])
def test_a_number_in_a_path_is_written_as_one(polka: Running, value: str) -> None:
    refused(client.get(f"{polka.url}/clearing/{value}"), 404, "not_found")
    refused(client.post(f"{polka.url}/clearing/{value}/settle"), 404, "not_found")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", f"Bearer {KEY}"),
        ("Idempotency-Key", "a"),
        ("Request-Timeout", "1s"),
        ("If-Match", '"1"'),
        ("Content-Type", "application/json"),
        ("X-Request-ID", "a"),
        ("Origin", "http://127.0.0.1"),
        ("Traceparent", "00-11111111111111111111111111111111-1111111111111111-01"),
    ],
)
@pytest.mark.parametrize("path", ["/transaction", "/transactions", "/hello", "/banks"])
def test_a_header_that_has_one_value_is_given_once(polka: Running, path: str, name: str, value: str) -> None:
    known = [("Authorization", f"Bearer {KEY}")] if name != "Authorization" else []
    headers = [*known, (name, value), (name.lower(), value)]
    for method in ("POST", "GET", "PATCH"):
        answer = httpx.request(method, polka.url + path, json=payment(), headers=headers, trust_env=False, verify=False)
        problem = refused(answer, 400, "invalid")
        assert problem["field"].lower() == name.lower()
    once = httpx.get(f"{polka.url}/banks", headers=[*known, (name, value)], trust_env=False, verify=False)
    assert once.status_code == 200


def test_the_cache_takes_one_token(polka: Running) -> None:
    headers = [("Authorization", f"Bearer {CACHE_TOKEN}")] * 2
    assert httpx.get(f"{polka.cache.url}/balance", headers=headers, trust_env=False, verify=False).status_code == 400


@pytest.mark.parametrize("path", READ)
def test_head_is_get_without_a_body(polka: Running, path: str) -> None:
    assert post(polka, payment()).status_code == 201
    got, head = client.get(polka.url + path), client.head(polka.url + path)
    assert head.content == b""
    changing = {"connection", "date", "x-request-id", "content-length", "etag"}  # an old connection is closed
    for name in got.headers.keys() - changing:
        assert head.headers[name] == got.headers[name], name
    assert head.status_code == got.status_code == 200
    assert "content-length" in head.headers


def test_head_of_what_is_not_there_or_not_allowed(polka: Running) -> None:
    for path in ("/transaction/x", "/nothing"):
        assert client.head(polka.url + path).status_code == 404
    assert httpx.head(f"{polka.url}/banks", trust_env=False, verify=False).status_code == 401
    allowed = client.head(f"{polka.url}/clearing/1/settle")
    assert (allowed.status_code, allowed.headers["allow"]) == (405, "OPTIONS, POST")


def test_head_of_a_stream_ends(polka: Running) -> None:
    head = client.head(f"{polka.url}/console/events")
    assert head.status_code == 200
    assert head.headers["content-type"].startswith("text/event-stream")
    wait_for(
        "no console is open",
        lambda: "polka_open_consoles 0.0" in client.get(f"{polka.apis[0].metrics_url}/metrics").text,
    )


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/transaction", "GET, HEAD, OPTIONS, POST"),
        ("/transactions", "GET, HEAD, OPTIONS, POST"),
        ("/transaction/x", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("/banks", "GET, HEAD, OPTIONS, POST"),
        ("/banks/x", "GET, HEAD, OPTIONS, PATCH"),
        ("/clearing", "GET, HEAD, OPTIONS, POST"),
        ("/clearing/1/settle", "OPTIONS, POST"),
        ("/keys", "GET, HEAD, OPTIONS, POST"),
        ("/keys/x", "DELETE, OPTIONS"),
        ("/hello", "GET, HEAD, OPTIONS"),
    ],
)
def test_all_methods_of_a_path_are_listed(polka: Running, path: str, allowed: str) -> None:
    options = client.options(polka.url + path)
    assert (options.status_code, options.headers["allow"]) == (204, allowed)
    wrong = client.put(polka.url + path)
    refused(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == allowed


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
def test_a_compressed_body_is_refused_as_such(polka: Running, method: str, path: str) -> None:
    for encoding in ("gzip", "br", "identity, gzip"):
        headers = {"Content-Encoding": encoding}
        answer = client.request(method, polka.url + path, content=b"\x1f\x8b\x08", headers=headers)
        assert refused(answer, 415, "unsupported_encoding")["field"] == "Content-Encoding"
        assert answer.headers["accept-encoding"] == "identity"
    headers = {"Content-Encoding": "identity"}
    assert client.request(method, polka.url + path, content=b"[", headers=headers).status_code in (400, 404)


@pytest.mark.parametrize("path", READ)
def test_a_parameter_that_a_route_does_not_know_is_refused(polka: Running, path: str) -> None:
    mark = "&" if "?" in path else "?"
    assert refused(client.get(f"{polka.url}{path}{mark}x=1"), 400, "invalid")["field"] == "x"


def test_a_long_query_or_path_is_refused_before_anything_remembers_it(polka: Running) -> None:
    problem = refused(client.get(f"{polka.url}/banks?after={'a' * 5000}"), 400, "invalid")
    assert problem["detail"] == "The query is longer than 4096 bytes."
    problem = refused(client.get(f"{polka.url}/banks/{'a' * 600}"), 404, "not_found")
    assert problem["detail"] == "There is no such route."
    assert client.get(f"{polka.url}/transactions", params={"reference": "€" * 140}).status_code == 200


def test_no_query_makes_an_open_page_remember_more(polka: Running) -> None:
    def resident() -> int:
        status = f"/proc/{polka.apis[0].process.pid}/status"
        with open(status) as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

    with httpx.Client(trust_env=False, verify=False) as stranger:
        for number in range(20):
            stranger.get(f"{polka.url}/schema/scalar.js?timeout={number + 200}s").raise_for_status()
        before = resident()
        for number in range(100):
            stranger.get(f"{polka.url}/schema/scalar.js?timeout={number + 100}s").raise_for_status()
            assert stranger.get(f"{polka.url}/schema/scalar.js?x={number}").status_code == 400
    assert resident() < before + 20_000, "kB; each page is one of 1,000"


class Begun:
    """A request of which the body is still to come."""

    def __init__(self, url: str, method: str, path: str, key: str, body: Any, *headers: str) -> None:
        self._body = msgspec.json.encode(body)
        port = httpx.URL(url).port
        self._socket = socket.create_connection(("127.0.0.1", port or 80), timeout=120)
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {key}", *headers]
        lines += [f"Content-Length: {len(self._body)}", "Connection: close"]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode() + self._body[:-1])

    def finish(self) -> tuple[int, dict[str, Any]]:
        self._socket.sendall(self._body[-1:])
        answer = b""
        while data := self._socket.recv(1 << 16):
            answer += data
        self._socket.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)


def new_key(polka: Running, key: str, *scopes: str) -> tuple[str, str]:
    made = client.post(f"{polka.url}/keys", json={"name": key, "scopes": list(scopes)}).json()
    client.get(f"{polka.url}/hello")
    return made["key"], made["id"]


BODIES: list[tuple[str, str, Callable[[], Any]]] = [
    ("POST", "/transaction", payment),
    ("POST", "/transactions", lambda: [payment()]),
    ("PATCH", "/transaction/{id}", lambda: {"reference": "late"}),
    ("PATCH", "/banks/bank19", lambda: {"suspended": "both"}),
    ("POST", "/banks", lambda: {"name": "late"}),
    ("POST", "/keys", lambda: {"name": "late"}),
    ("POST", "/clearing", lambda: {"window": 1}),
]
SCOPES = ("transactions:write", "transactions:read", "banks:write", "operate", "keys:write")


@pytest.mark.parametrize(("method", "path", "body"), BODIES)
def test_a_key_that_is_revoked_before_the_body_is_whole_changes_nothing(
    polka: Running, key: str, method: str, path: str, body: Callable[[], Any]
) -> None:
    path = path.format(id=post(polka, payment()).json()["id"])
    secret, id = new_key(polka, key, *SCOPES)
    begun = Begun(polka.url, method, path, secret, body())
    before = everything(polka)
    client.delete(f"{polka.url}/keys/{id}").raise_for_status()
    mine = {"Authorization": f"Bearer {secret}"}
    wait_for("the key is refused", lambda: client.get(f"{polka.url}/banks", headers=mine).status_code == 401)
    status, problem = begun.finish()
    assert (status, problem["code"]) == (401, "unauthorized")
    assert everything(polka) == before


@pytest.mark.parametrize(("method", "path", "body"), BODIES)
def test_a_body_that_is_whole_past_the_deadline_is_not_queued(
    polka: Running, method: str, path: str, body: Callable[[], Any]
) -> None:
    path = path.format(id=post(polka, payment()).json()["id"])
    before = everything(polka)
    begun = Begun(polka.url, method, path, KEY, body(), "Request-Timeout: 300ms")
    time.sleep(0.5)  # the deadline is a time: nothing else tells that it has passed
    status, problem = begun.finish()
    assert (status, problem["code"]) in ((504, "timeout"), (408, "slow"))
    assert everything(polka) == before


def test_a_late_request_leaves_its_idempotency_key_free(polka: Running, key: str) -> None:
    begun = Begun(polka.url, "POST", "/transaction?timeout=300ms", KEY, payment(7), f"Idempotency-Key: {key}")
    time.sleep(0.5)
    assert begun.finish()[0] in (504, 408)
    assert fetch(polka.database_url, f"SELECT count(*) FROM idempotency_keys WHERE key = '{key}'") == [(0,)]
    assert post(polka, payment(8), key).status_code == 201
