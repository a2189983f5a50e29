"""Heads, bodies and pipelines without end, and clients that keep silent: each is cut off, and nobody else notices."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from socket import inet_aton

import httpx
import pytest

from polka.edge import bounds
from polka.edge.newcomers import HEAD_BYTES_MIN
from raw import Raw, deaf, request
from services import Service, client
from witness import Hostile

MEGABYTES = 8
HEAD = b"GET /hello HTTP/1.1\r\nHost: polka\r\n"
CHUNKED = b"POST /balance HTTP/1.1\r\nHost: polka\r\nTransfer-Encoding: chunked\r\n\r\n"


def endless(begin: bytes, part: bytes) -> Iterator[bytes]:
    yield begin
    block = part * (65_536 // len(part))
    for _ in range(MEGABYTES * 16):
        yield block


FLOODS: dict[str, tuple[Callable[[], Iterator[bytes]], int]] = {
    "one header": (lambda: endless(HEAD + b"X: ", b"y"), 431),
    "headers": (lambda: endless(HEAD, b"X: y\r\n"), 431),
    "a header's name": (lambda: endless(HEAD, b"X"), 431),
    "cookies": (lambda: endless(HEAD + b"Cookie: ", b"a=b;"), 431),
    "a URL": (lambda: endless(b"GET /", b"x"), 414),
    "trailers": (lambda: endless(CHUNKED + b"0\r\n", b"X: y\r\n"), 413),
    "a chunk's extension": (lambda: endless(CHUNKED + b"1;", b"x"), 413),
    "a length": (lambda: iter([HEAD + b"Content-Length: 99999999999\r\n\r\n"]), 413),
    "no host": (lambda: iter([b"GET / HTTP/1.1\r\n\r\n"]), 400),
    "two hosts": (lambda: iter([HEAD + b"Host: polka\r\n\r\n"]), 400),
    "no HTTP": (lambda: endless(b"\x16\x03\x01", b"\0"), 400),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_is_refused_with_a_problem(hostile: Hostile, target: Service, flood: str) -> None:
    parts, expected = FLOODS[flood]
    statuses = []
    with hostile.attacked():
        for _ in range(5):
            with Raw(target.url) as raw:
                with suppress(ConnectionError):  # it may be closed long before the end
                    raw.send(*parts())
                with suppress(ConnectionError):  # a client that goes on sending may not hear why
                    status, headers, _ = raw.answer()
                    assert status == 401 or headers["content-type"] == "application/problem+json"
                    statuses.append(status)
                raw.ends()
    assert set(statuses) <= {expected, 401}, statuses
    assert expected in statuses or expected == 413


def test_a_pipeline_without_end_is_read_no_faster_than_it_is_answered(hostile: Hostile, target: Service) -> None:
    flood = request("GET", "/x") * (256_000 // len(request("GET", "/x")))
    with hostile.attacked(), ExitStack() as stack:
        for _ in range(20):
            raw = stack.enter_context(Raw(target.url))
            raw.socket.settimeout(0.2)
            with suppress(OSError):  # nobody reads it to its end
                raw.send(flood)
        time.sleep(2)


def test_large_answers_that_nobody_reads_take_little_memory(hostile: Hostile) -> None:
    """The page is one megabyte, and needs no key."""
    port = httpx.URL(hostile.services["api"].url).port
    assert port
    with hostile.attacked(), ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(deaf(port)).sendall(request("GET", "/schema/scalar.js"))
        time.sleep(2)


SILENCES = (b"", b"GET /hel", HEAD, HEAD + b"Content-Length: 3\r\n\r\na")
"""Nothing, half a request line, half a head, and a head with half a body."""


def test_a_thousand_silent_clients_of_each_service_are_cut_off(hostile: Hostile) -> None:
    """Of both services at once, because all wait for the same time."""
    bounds.raise_descriptors_limit()
    targets = hostile.services.values()
    before = [cut_off(target) for target in targets]
    with hostile.attacked(), ExitStack() as stack:
        silent = [stack.enter_context(Raw(target.url)) for target in targets for _ in range(1_000)]
        for raw, sent in zip(silent, itertools.cycle(SILENCES), strict=False):
            raw.send(sent)
        for raw in silent:
            raw.ends()
    assert all(cut_off(target) >= count + 750 for target, count in zip(targets, before, strict=True))


def test_a_few_bytes_wake_nobody(hostile: Hostile, target: Service) -> None:
    sent = HEAD[: HEAD_BYTES_MIN - 1]
    with Raw(target.url) as silent, Raw(target.url) as other:
        silent.send(sent)
        for _ in range(10):
            other.send(request("GET", "/hello"))
            other.answer()
        assert unread(silent) == len(sent)
        silent.send(HEAD[len(sent) :] + b"\r\n")
        silent.answer()
        assert unread(silent) == 0


def unread(client_of: Raw) -> int:
    """How many bytes of this client the kernel keeps, which its service has not read."""
    here, there = client_of.socket.getsockname(), client_of.socket.getpeername()
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    [queues] = [queues for _, local, remote, _, queues, *_ in lines if (local, remote) == (shown(there), shown(here))]
    return int(queues.partition(":")[2], 16)


def shown(address: tuple[str, int]) -> str:
    """As the kernel writes it."""
    return f"{int.from_bytes(inet_aton(address[0]), 'little'):08X}:{address[1]:04X}"


def cut_off(service: Service) -> int:
    lines = client.get(f"{service.metrics_url}/metrics").text.splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("polka_connections_refused_total{"))
