"""Whole requests that are meant to do harm: each is refused for what it is, and good clients notice nothing."""

import socket
from collections.abc import Iterator

import pytest

from raw import Raw, request, with_length
from services import CACHE_TOKEN, KEY
from witness import Hostile

TIMES = 20
API, CACHE = f"Authorization: Bearer {KEY}", f"Authorization: Bearer {CACHE_TOKEN}"
NESTED = b"[" * 20_000
NESTED_MESSAGE_PACK = b"\x91" * 20_000
TRACE = "traceparent: 00-11111111111111111111111111111111-1111111111111111-01"

REQUESTS: dict[str, tuple[str, bytes, int]] = {
    **{
        f"nested JSON in {method} {path}": ("api", with_length(method, path, API, body=NESTED), 400)
        for method, path in (
            ("POST", "/transaction"),
            ("POST", "/transactions"),
            ("POST", "/banks"),
            ("PATCH", "/banks/bank1"),
            ("POST", "/keys"),
            ("POST", "/clearing"),
        )
    },
    **{
        f"nested JSON in POST {path} of the cache": ("cache", with_length("POST", path, CACHE, body=NESTED), 400)
        for path in ("/balance", "/balance/reservation", "/policy", "/clearing", "/pulse")
    },
    "nested MessagePack": (
        "api",
        with_length("POST", "/transactions", API, "Content-Type: application/msgpack", body=NESTED_MESSAGE_PACK),
        400,
    ),
    "two keys": ("api", request("GET", "/banks", API, API), 400),
    "two tokens": ("cache", request("GET", "/balance", CACHE, CACHE), 400),
    "two versions": ("api", request("DELETE", "/transaction/x", API, 'If-Match: "1"', 'if-match: "2"'), 400),
    "two timeouts": ("api", request("GET", "/banks", API, "Request-Timeout: 1s", "Request-Timeout: 2s"), 400),
    "two traces": ("api", request("GET", "/hello", TRACE, TRACE), 400),
    "gzip": ("api", with_length("POST", "/transaction", API, "Content-Encoding: gzip", body=b"\x1f\x8b"), 415),
    "an exponent": ("api", request("GET", "/transactions?limit=1e2", API), 400),
    "a sign in a path": ("api", request("GET", "/clearing/+1", API), 404),
    "a file with a long name": ("api", request("GET", f"/console/{'a' * 300}.js"), 404),
    "a long path": ("api", request("GET", f"/banks/{'a' * 8000}", API), 404),
    "a long query": ("api", request("GET", f"/banks?after={'a' * 8000}", API), 400),
    "an unknown parameter of an open route": ("api", request("GET", "/hello?x=1"), 400),
    "a method that is not there": ("api", request("PUT", "/banks", API), 405),
    "a forwarded address": ("api", request("GET", "/banks", "X-Forwarded-For: 127.0.0.1", TRACE), 401),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_refused_for_what_it_is(hostile: Hostile, name: str) -> None:
    target, sent, status = REQUESTS[name]
    url = hostile.services[target].url
    with hostile.attacked():
        for _ in range(TIMES):
            with Raw(url) as raw:
                raw.send(sent)
                assert raw.status() == status
    for service in hostile.services.values():
        assert "Traceback" not in service.log.read_text()


def queries() -> Iterator[str]:
    for number in range(150):
        yield f"/schema/scalar.js?x={number}"
        yield f"/schema/scalar.js?timeout={number + 100}s"
        yield f"/console/app.js?v={number}"
        yield f"/console/{number}{'a' * 400}.js"
        yield f"/hello?{number}={'a' * 4000}"


def test_no_query_of_an_open_route_is_remembered(hostile: Hostile) -> None:
    url = hostile.services["api"].url
    with hostile.attacked():
        for path in queries():
            with Raw(url) as raw:
                raw.send(request("GET", path, "Connection: close"))
                assert raw.status() in (200, 400, 404)


def test_impatient_reads_hold_no_payment_up(hostile: Hostile) -> None:
    """Each of them ends before it is answered, and gives its connection to the database back."""
    port = int(hostile.services["api"].url.rpartition(":")[2])
    asked = request("GET", "/transactions?timeout=1ms", API)
    with hostile.attacked():
        for _ in range(10):
            opened = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
            for one in opened:
                one.sendall(asked)
            for one in opened:
                assert one.recv(1 << 16).split()[1] in (b"200", b"503", b"504")
                one.close()
