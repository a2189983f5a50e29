"""Behind a proxy that keeps its connections, one client's bytes must never become another client's request."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from proxies import PROXIES, proxy
from raw import Raw, alive, chunked, request, with_length
from services import Service
from witness import Hostile

OFFER = "Upgrade: h2c"
SMUGGLED = request("GET", "/metrics")


@pytest.fixture(params=PROXIES)
def front(request: pytest.FixtureRequest, target: Service, tmp_path: Path) -> Iterator[str]:
    """The URL of a proxy before the service."""
    port = httpx.URL(target.url).port
    assert port
    with proxy(request.param, tmp_path, port) as url:
        yield url


def own(body: bytes) -> object:
    """What an answer says of its route: balances go on."""
    return json.loads(body).keys()


def pattern(size: int) -> bytes:
    """An offer of so many bytes, line breaks included."""
    return b"\r\nupgrade:" + b" " * (size - 14) + b"h2c\r\n"


def attacks() -> Iterator[bytes]:
    """Requests of which a server that cuts the pattern out would wait for that many bytes of the next one."""
    for size in (14, 60, 100, 110, 120, 500, 8_000):
        cut = pattern(size)
        yield with_length("POST", "/banks", body=cut)
        yield with_length("POST", "/banks", body=b"x" * 100 + cut + SMUGGLED)
        yield request("POST", "/banks", "Transfer-Encoding: chunked", body=chunked([cut, SMUGGLED]))
    plain = "Transfer-Encoding: chunked"
    for connection in ("Connection: Upgrade", "Connection: keep-alive, upgrade", "X: y"):
        yield request("GET", "/hello", connection, OFFER)
        yield with_length("POST", "/banks", connection, OFFER, body=SMUGGLED)
        yield request("POST", "/banks", connection, OFFER, plain, body=chunked([SMUGGLED, SMUGGLED]))
        yield request("POST", "/banks", connection, "Upgrade: websocket, H2C", plain, body=chunked([SMUGGLED]))
    yield request(
        "POST", "/banks", plain, body=chunked([SMUGGLED], trailers=b"upgrade: h2c\r\nconnection: upgrade\r\n")
    )
    yield request("POST", "/banks", plain, body=chunked([SMUGGLED], trailers=b"connection: close\r\n"))
    yield request("POST", "/banks", plain, body=chunked([SMUGGLED], extension=b";upgrade: h2c"))


def test_each_client_gets_the_answer_to_its_own_request(hostile: Hostile, target: Service, front: str) -> None:
    with Raw(target.url) as raw:
        raw.send(alive(target))
        expected = raw.answer()[2]
    with hostile.attacked(), Raw(front) as good:
        for attack in attacks():
            with Raw(front) as bad:
                bad.send(attack)
                status, _, body = bad.answer()
                assert status in (200, 400, 401, 403, 404, 405), attack
                assert b"polka_http_requests" not in body
            for _ in range(2):  # on the connection that the proxy kept, if it kept one
                good.send(alive(target))
                status, _, body = good.answer()
                assert (status, own(body)) == (200, own(expected)), attack
        with Raw(front) as bad:
            bad.send(SMUGGLED)
            assert bad.status() == 403
