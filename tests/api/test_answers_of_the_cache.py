"""Answers of the cache that make no sense: the cache counts as unavailable, and the api goes on."""

import logging

import httpx
import pytest

from api.cache_client import CacheClient, Silence
from api.routes.banks import with_cursor
from capped import Cache, Start
from polka.rules.messages import Asking
from polka.rules.windows import Conflict, Window
from posts import accepted, pay
from wires import answered

pytestmark = pytest.mark.anyio

NONSENSE = [
    b"",
    b"<html>It works!</html>",
    b"[1, 2]",
    b'{"epoch": "three"}',
    b'{"epoch": 1, "policy": 0, "refused": {"one": {}}}',
    b"\xff\xfe",
    b"[" * 100_000,
]


@pytest.fixture
def start(start_capped: Start) -> Start:
    return start_capped


def answering(status: int, content: bytes) -> CacheClient:
    return answered(lambda _: httpx.Response(status, content=content))


@pytest.mark.parametrize("content", NONSENSE, ids=lambda content: content[:20])
async def test_an_answer_that_cannot_be_read_is_a_warning(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert await answering(200, content).reserve(Asking("", 0, [], [])) is None
        for status, kind in ((200, Window), (409, Window)):
            assert await answering(status, content).order("/clearing", kind) is Silence.UNKNOWN
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert len(caplog.records) == 3


async def test_an_answer_that_is_no_object_is_passed_on_to_nobody() -> None:
    for content in (b"", b"<html>", b"[1, 2]", b"{", b"[" * 100_000):
        assert await answering(200, content).ask("/balance") is None
        assert await answering(200, content).overview(None, with_lines=True) is None
    assert await answering(200, b'{"banks": []}').ask("/balance") == b'{"banks": []}'
    assert await answering(409, b'{"detail": "It is open."}').order("/clearing", Window) == Conflict("It is open.")


def test_a_page_of_an_older_cache_gets_its_cursor() -> None:
    assert with_cursor(b'{"banks":[],"next":"bank2"}') == b'{"banks":[],"next":"bank2","cursor":"bank2"}'
    for whole in (b'{"banks":[],"cursor":"bank2","next":"bank2"}', b'{"banks":[],"cursor":null}'):
        assert with_cursor(whole) == whole


async def test_the_cache_is_told_how_long_its_caller_waits() -> None:
    heads: list[httpx.Headers] = []

    def answer(request: httpx.Request) -> httpx.Response:
        heads.append(request.headers)
        return httpx.Response(200, json={})

    await answered(answer, timeout=0.25).ask("/balance")
    assert heads[0]["request-timeout"] == "250ms"


async def test_a_capped_payment_waits_for_an_answer_that_can_be_read(
    start: Start,
    cache: Cache,
) -> None:
    """The api goes on, and asks again."""
    posting = await start()
    cache.refuses = lambda body: {"one": body} if len(cache.asked) < 3 else {}  # type: ignore[dict-item]
    assert accepted(await posting.post(pay(), None, 20)).transaction.amount == 100
    assert len(cache.asked) == 3
