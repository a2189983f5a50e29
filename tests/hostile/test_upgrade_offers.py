"""Offers to speak another protocol: they are ignored, and not one byte of a body is touched."""

import json
import time
import uuid

import pytest

from front_door import fetch
from raw import Raw, alive, authorized, chunked, request, with_length
from services import KEY, Service, payment
from witness import Hostile

PATTERN = b"\r\nupgrade: \t h2c \t\r\n"
OFFERS = [
    ("Connection: Upgrade", "Upgrade: h2c"),
    ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    ("Upgrade: H2C", "connection: UPGRADE"),
    (
        "Connection: upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==",
    ),
    ("Connection: keep-alive, upgrade", "Upgrade: IRC/6.9, websocket, h2c"),
    ("Upgrade: h2c",),
]
BODIES = {"api": ("/transaction", json.dumps(payment()).encode()), "cache": ("/balance", b"[]")}


def with_offer(sent: bytes, offer: tuple[str, ...]) -> bytes:
    return sent.replace(b"\r\n\r\n", "\r\n".join(["", *offer, "", ""]).encode())


def packets(data: bytes, size: int) -> list[bytes]:
    return [data[place : place + size] for place in range(0, len(data), size)]


@pytest.mark.parametrize("offer", OFFERS, ids=" ".join)
def test_an_offer_is_ignored_and_the_body_arrives_whole(
    hostile: Hostile, target: Service, offer: tuple[str, ...]
) -> None:
    path, body = BODIES[target.name]
    plain = [authorized(target), "Content-Type: application/json"]
    behind = alive(target)
    with Raw(target.url) as raw:
        raw.send(with_length("POST", path, *plain, body=body))
        expected = raw.status()
    framed = {
        "with a length": with_length("POST", path, *plain, *offer, body=body),
        "in chunks": request(
            "POST", path, *plain, *offer, "Transfer-Encoding: chunked", body=chunked([body[:1], body[1:]])
        ),
    }
    with hostile.attacked():
        for how, sent in framed.items():
            for size in (len(sent) + len(behind), 7):
                with Raw(target.url) as raw:
                    for packet in packets(sent + behind, size):
                        raw.send(packet)
                        time.sleep(0.001 if size == 7 else 0)
                    assert (raw.status(), raw.status()) == (expected, 200), how
        with Raw(target.url) as raw:  # without a body
            raw.send(with_offer(behind, offer) + behind)
            assert (raw.status(), raw.status()) == (200, 200)


def test_a_body_that_looks_like_an_offer_is_stored_as_it_was_sent(hostile: Hostile) -> None:
    """JSON takes line breaks between its tokens: the body must stay as long as it says, or the next request is cut."""
    api = hostile.services["api"]
    key = str(uuid.uuid4())
    body = json.dumps(payment()).encode()
    body = body[:1] + b'"reference": "x' + b'",' + b" " * len(PATTERN) + body[1:]
    head = (f"Authorization: Bearer {KEY}", f"Idempotency-Key: {key}")
    hidden = request("DELETE", "/transaction/00000000-0000-0000-0000-000000000000", f"Authorization: Bearer {KEY}")
    with hostile.attacked(), Raw(api.url) as raw:
        raw.send(with_length("POST", "/transaction", *head, body=body))
        assert raw.status() == 201
        raw.send(with_length("POST", "/banks", f"Authorization: Bearer {KEY}", body=PATTERN + hidden))
        assert raw.status() == 400
        raw.send(request("GET", "/hello"))
        assert raw.answer()[2] == b'{"hello":"polka"}\n'
    assert fetch(hostile.database_url, f"SELECT count(*) FROM idempotency_keys WHERE key = '{key}'") == [(1,)]
