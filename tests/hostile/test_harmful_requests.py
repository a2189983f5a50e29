"""Whole requests that are meant to do harm: each is refused for what it is, and good clients notice nothing."""

import json
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector import collecting
from raw import Raw, chunked, request, with_length
from services import CACHE_TOKEN, KEY, Services, payment, wait_for
from witness import Hostile

TIMES = 20
API, CACHE = f"Authorization: Bearer {KEY}", f"Authorization: Bearer {CACHE_TOKEN}"
NESTED = (b"[" * 20_000, b'{"a":' * 4_000, b'{"name":' + b"[" * 20_000)
NESTED_MESSAGE_PACK = b"\x91" * 20_000
TRACE = "traceparent: 00-11111111111111111111111111111111-1111111111111111-01"
CHUNKED = "Transfer-Encoding: chunked"
PAYMENT = json.dumps(payment()).encode()

REQUESTS: dict[str, tuple[str, bytes | tuple[bytes, ...], int]] = {
    **{
        f"nested JSON in {method} {path}": (
            "api",
            tuple(with_length(method, path, API, body=body) for body in NESTED),
            400,
        )
        for method, path in (
            ("POST", "/transaction"),
            ("POST", "/transactions"),
            ("PATCH", "/transaction/00000000-0000-0000-0000-000000000000"),
            ("POST", "/banks"),
            ("PATCH", "/banks/bank1"),
            ("POST", "/keys"),
            ("POST", "/clearing"),
        )
    },
    **{
        f"nested JSON in POST {path} of the cache": (
            "cache",
            tuple(with_length("POST", path, CACHE, body=body) for body in NESTED),
            400,
        )
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
    **{
        f"an exponent or a point in {path}": ("api", request("GET", path, API), 400)
        for path in (
            "/transactions?limit=1e2",
            "/transactions?limit=1.0",
            "/transactions?amount_min=1e3",
            "/convert?from=EUR&to=USD&amount=1e3",
        )
    },
    "a sign in a path": ("api", request("GET", "/clearing/+1", API), 404),
    "a file with a long name": ("api", request("GET", f"/console/{'a' * 300}.js"), 404),
    "an unknown parameter of an open route": ("api", request("GET", "/hello?x=1"), 400),
    "cookies of 400 kB": ("api", request("GET", "/console/events", f"Cookie: {'a=b;' * 100_000}"), 431),
    "HEAD": ("api", request("HEAD", "/banks", API), 200),
    **{
        f"{path} on the port for clients of the {target}": (target, request("GET", path), 404)
        for target in ("api", "cache")
        for path in ("/metrics", "/health/ready")
    },
    "a key in a trailer": (
        "api",
        request("POST", "/transaction", CHUNKED, body=chunked([PAYMENT], trailers=f"{API}\r\n".encode())),
        401,
    ),
    "a token in a trailer": (
        "cache",
        request("POST", "/balance", CHUNKED, body=chunked([b"[]"], trailers=f"{CACHE}\r\n".encode())),
        401,
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_refused_for_what_it_is(hostile: Hostile, name: str) -> None:
    target, requests, status = REQUESTS[name]
    url = hostile.services[target].url
    logged = {service.log: service.log.stat().st_size for service in hostile.services.values()}
    with hostile.attacked():
        for sent in (requests if isinstance(requests, tuple) else (requests,)) * TIMES:
            with Raw(url) as raw:
                raw.send(sent)
                assert raw.answer(method=sent.split()[0].decode())[0] == status
    for log, size in logged.items():
        assert b"Traceback" not in log.read_bytes()[size:]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/banks", "GET, HEAD, OPTIONS, POST"),
        ("PUT", "/transaction/x", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("OPTIONS", "/transaction/x", "DELETE, GET, HEAD, OPTIONS, PATCH"),
    ],
)
def test_an_answer_lists_all_methods_of_a_path(hostile: Hostile, method: str, path: str, allowed: str) -> None:
    with hostile.attacked(), Raw(hostile.services["api"].url) as raw:
        for _ in range(TIMES):
            raw.send(request(method, path, API))
            status, headers, _ = raw.answer(method)
            assert (status, headers["allow"]) == (204 if method == "OPTIONS" else 405, allowed)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"/banks/{'a' * 8000}", (404, "There is no such route.")),
        (f"/banks?after={'a' * 8000}", (400, "The query is longer than 4096 bytes.")),
    ],
    ids=["path", "query"],
)
def test_a_long_path_or_query_reaches_no_route(hostile: Hostile, path: str, expected: tuple[int, str]) -> None:
    """Litestar remembers the paths and queries of its routes."""
    with hostile.attacked(), Raw(hostile.services["api"].url) as raw:
        for _ in range(TIMES):
            raw.send(request("GET", path, API))
            status, _, body = raw.answer()
            assert (status, json.loads(body)["detail"]) == expected


def test_an_idempotency_key_in_a_trailer_does_not_count(hostile: Hostile) -> None:
    sent = request("POST", "/transaction", API, CHUNKED)
    sent += chunked([PAYMENT], trailers=b"Idempotency-Key: " + secrets.token_hex().encode() + b"\r\n")
    ids = set()
    with hostile.attacked(), Raw(hostile.services["api"].url) as raw:
        for _ in range(TIMES):
            raw.send(sent)
            status, _, body = raw.answer()
            assert status == 201, body
            ids.add(json.loads(body)["id"])
    assert len(ids) == TIMES


def test_a_client_without_a_key_decides_no_trace(hostile: Hostile, tmp_path: Path) -> None:
    """Also as if a proxy had sent it on."""
    strange, known = secrets.token_hex(16), secrets.token_hex(16)
    services = Services(hostile.database_url, tmp_path)
    with collecting() as collector:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}
        try:
            api = services.api(**environ, OTEL_BSP_SCHEDULE_DELAY="100", POLKA_TRACES_RATIO="0").ready()
            with hostile.attacked(), Raw(api.url) as raw:
                for headers in ((), ("X-Forwarded-For: 127.0.0.1",), ("Authorization: Bearer x",)) * TIMES:
                    raw.send(request("GET", "/banks", f"traceparent: 00-{strange}-{'1' * 16}-01", *headers))
                    assert raw.status() == 401
                raw.send(request("GET", "/banks", f"traceparent: 00-{known}-{'1' * 16}-01", API))
                assert raw.status() == 200
            wait_for("the span of the known client", lambda: collector.of_trace(known))
            assert not collector.of_trace(strange)
        finally:
            services.stop()


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
