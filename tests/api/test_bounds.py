"""What one client may take of a server before its request is understood, and what the server makes of its bytes.

The server runs in the test with an app that says what it saw. `tests/hostile/` asks the same of api and cache.
"""

import asyncio

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from polka.edge import bounds, connections, patience
from polka.edge.bounds import Reason
from polka.edge.replaced import check_uvicorn
from raw import chunked, request, with_length
from served import client, counted, problem_in, request_id, serving, until

pytestmark = pytest.mark.anyio
SECOND = request("GET", "/second")
OFFER = ("Connection: Upgrade", "Upgrade: h2c")


@pytest.mark.parametrize(
    "framed",
    [
        with_length("POST", "/", *OFFER, body=b"\r\nupgrade: h2c\r\n"),
        request("POST", "/", *OFFER, "Transfer-Encoding: chunked", body=chunked([b"\r\nupgrade:", b" h2c\r\n"])),
        request("POST", "/", "Upgrade: H2C, websocket", "connection: a, UPGRADE", "content-length: 16")
        + b"\r\nupgrade: h2c\r\n",
        with_length("POST", "/", body=b"\r\nupgrade: h2c\r\n"),
    ],
    ids=["length", "chunks", "list", "no offer"],
)
@pytest.mark.parametrize("size", [1, 3, 10_000])
async def test_an_offer_to_upgrade_is_ignored_and_each_byte_of_a_body_arrives(framed: bytes, size: int) -> None:
    async with serving() as served, client(served) as one:
        sent = framed * 3 + SECOND
        for place in range(0, len(sent), size):
            await one.send(sent[place : place + size])
            await asyncio.sleep(0)
        assert [await one.status() for _ in range(4)] == [204] * 4
        assert [(path, body) for path, body, _ in served.seen] == [("/", b"\r\nupgrade: h2c\r\n")] * 3 + [
            ("/second", b"")
        ]


async def test_an_offer_without_a_body_ends_with_its_head() -> None:
    async with serving() as served, client(served) as one:
        await one.send(request("GET", "/", *OFFER) * 30 + SECOND)
        assert [await one.status() for _ in range(31)] == [204] * 31


async def test_a_client_that_offers_and_closes_is_answered_once() -> None:
    async with serving() as served, client(served) as one:
        await one.send(with_length("POST", "/", "Connection: close, Upgrade", "Upgrade: h2c", body=b"abc") + SECOND)
        assert (await one.ends()).startswith(b"HTTP/1.1 204")
        assert [(path, body) for path, body, _ in served.seen] == [("/", b"abc")]


TRAILERS = (
    b"Authorization: Bearer x\r\nIdempotency-Key: y\r\nExpect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Host: other\r\n",
)


@pytest.mark.parametrize("offer", [(), OFFER])
@pytest.mark.parametrize("trailers", TRAILERS)
async def test_trailers_are_no_headers(offer: tuple[str, ...], trailers: bytes) -> None:
    """The next request is another client's, perhaps, behind a proxy that sends trailers on."""
    async with serving() as served, client(served) as one:
        await one.send(
            request("POST", "/", *offer, "Transfer-Encoding: chunked") + chunked([b"abc"], trailers=trailers)
        )
        await one.send(SECOND)
        assert (await one.status(), await one.status()) == (204, 204)
        assert not {b"authorization", b"idempotency-key", b"expect"} & set(served.seen[0][2])


HEAD = b"GET / HTTP/1.1\r\nHost: polka\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: polka\r\nTransfer-Encoding: chunked\r\n\r\n"
GZIPPED = HEAD + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
BULK = CHUNKED.replace(b"POST / ", b"POST /transactions ")


@pytest.mark.parametrize(
    ("sent", "status", "code", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400, "malformed", Reason.HOST),
        (HEAD + b"Host: polka\r\n\r\n", 400, "malformed", Reason.HOST),
        (b"BAD\r\n\r\n", 400, "malformed", Reason.MALFORMED),
        (b"GET http://polka HTTP/1.1\r\nHost: polka\r\n\r\n", 400, "malformed", Reason.MALFORMED),
        (b"GET http://polka:99999/ HTTP/1.1\r\nHost: polka\r\n\r\n", 400, "malformed", Reason.MALFORMED),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed", Reason.MALFORMED),
        (b"CONNECT / HTTP/1.1\r\nHost: polka\r\n\r\n", 400, "malformed", Reason.MALFORMED),
        (HEAD + b"X: a\r\n b\r\n\r\n", 400, "malformed", Reason.MALFORMED),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 400, "malformed", Reason.MALFORMED),
        (GZIPPED + b"0\r\n\r\n", 400, "malformed", Reason.MALFORMED),
        (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "malformed", Reason.MALFORMED),
        (CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", 400, "malformed", Reason.MALFORMED),
        (HEAD + b"Content-Length: 65537\r\n\r\n", 413, "too_large", Reason.BODY_TOO_LARGE),
        (HEAD + b"Content-Length: 99999999999\r\n\r\n", 413, "too_large", Reason.BODY_TOO_LARGE),
        (CHUNKED + b"1;" + b"x" * 200_000, 413, "too_large", Reason.BODY_TOO_LARGE),
        (CHUNKED + b"1\r\na\r\n" * 40_000, 413, "too_large", Reason.BODY_TOO_LARGE),
        (CHUNKED + b"0\r\n" + b"X: y\r\n" * 40_000, 413, "too_large", Reason.BODY_TOO_LARGE),
        (CHUNKED + b"0\r\nX: " + b"y" * 200_000, 413, "too_large", Reason.BODY_TOO_LARGE),
        (BULK + b"0\r\n" + b"X: y\r\n" * 20_000, 413, "too_large", Reason.BODY_TOO_LARGE),
        (BULK + b"1;" + b"x" * 100_000, 413, "too_large", Reason.BODY_TOO_LARGE),
        (BULK + chunked([b"x" * 4096] * 257)[:-5], 413, "too_large", Reason.BODY_TOO_LARGE),
        (b"GET /" + b"x" * 200_000, 414, "url_too_long", Reason.URL_TOO_LONG),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: polka\r\n\r\n", 414, "url_too_long", Reason.URL_TOO_LONG),
        (HEAD + b"X: " + b"y" * 200_000, 431, "headers_too_large", Reason.HEADERS_TOO_LARGE),
        (HEAD + b"X: " + b"y" * 66_000 + b"\r\n\r\n", 431, "headers_too_large", Reason.HEADERS_TOO_LARGE),
        (HEAD + b"X" * 200_000, 431, "headers_too_large", Reason.HEADERS_TOO_LARGE),
        (HEAD + b"X: y\r\n" * 40_000, 431, "headers_too_large", Reason.HEADERS_TOO_LARGE),
        (HEAD + b"X: y\r\n" * 100 + b"\r\n", 431, "headers_too_large", Reason.HEADERS_TOO_LARGE),
    ],
)
async def test_what_cannot_be_served_is_answered_with_a_problem_and_counted(
    sent: bytes, status: int, code: str, reason: Reason
) -> None:
    """Behind the answers to what came before it, and nothing that follows is read."""
    before = counted(reason)
    async with serving() as served, client(served) as one:
        await one.send(SECOND + SECOND + sent, SECOND)
        assert (await one.status(), await one.status()) == (204, 204)
        assert problem_in(await one.ends()) == (status, code)
        assert [path for path, _, _ in served.seen] == ["/second", "/second"]
    assert counted(reason) == before + 1


OWN_ID = b"X-Request-ID: mine\r\n"


@pytest.mark.parametrize(
    ("sent", "is_own"),
    [
        (HEAD + OWN_ID + b"Content-Length: 65537\r\n\r\n", True),
        (HEAD + OWN_ID + b"Host: polka\r\n\r\n", True),
        (HEAD + OWN_ID + b"X: " + b"y" * 200_000, True),
        (CHUNKED[:-2] + OWN_ID + b"\r\n3\r\nabcd", True),
        (HEAD + b"X-Request-ID: not/sane(\r\nContent-Length: 65537\r\n\r\n", False),
        (HEAD + b"Content-Length: 65537\r\n\r\n", False),
        (b"BAD\r\n\r\n", False),
    ],
)
async def test_what_is_refused_before_the_app_has_an_id_too(sent: bytes, is_own: bool) -> None:
    """Its client's where the headers that came have a sane one, and never that of an earlier request."""
    found = set()
    for _ in range(2):
        async with serving() as served, client(served) as one:
            await one.send(HEAD + b"X-Request-ID: earlier\r\n\r\n")
            assert await one.status() == 204
            await one.send(sent)
            found.add(request_id((await one.ends()).partition(b"\r\n\r\n")[0]))
    assert found == {"mine"} if is_own else len(found) == 2 and not found & {"mine", "earlier"}


def test_an_error_of_the_server_is_not_the_clients(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has its traceback, and the client hears nothing, as from a server that died."""
    before = counted(Reason.MALFORMED)
    monkeypatch.setattr(bounds, "HEADERS_MAX", None)

    async def answer() -> bytes:
        async with serving() as served, client(served) as one:
            await one.send(request("GET", "/"))
            return await one.ends()

    assert asyncio.run(answer()) == b""
    assert "TypeError" in caplog.text
    assert counted(Reason.MALFORMED) == before


async def test_an_old_client_gets_no_interim_answer() -> None:
    async with serving() as served, client(served) as one:
        await one.send(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")
        assert await one.status() == 204


async def test_nothing_behind_a_last_request_is_served() -> None:
    async with serving() as served, client(served) as one:
        await one.send(request("GET", "/", "Connection: close") + SECOND * 3 + b"BAD\r\n")
        assert (await one.ends()).count(b"HTTP/1.1") == 1
        assert [path for path, _, _ in served.seen] == ["/"]


async def test_heads_and_bodies_up_to_the_bounds_are_served() -> None:
    bulk = b"x" * 1024 * 1024
    async with serving() as served, client(served) as one:
        for sent in (
            b"GET /" + b"x" * 16_000 + b" HTTP/1.1\r\nHost: polka\r\n\r\n",
            HEAD + b"X: " + b"y" * 60_000 + b"\r\n\r\n",
            HEAD + b"X: y\r\n" * 99 + b"\r\n",
            with_length("POST", "/transactions", body=bulk),
            with_length("POST", "/", body=b"x" * 65_536),
            CHUNKED + chunked([b"x" * 4096] * 16),
            b"GET / HTTP/1.0\r\n\r\n",
        ):
            await one.send(sent)
            assert await one.status() == 204
        assert [len(body) for _, body, _ in served.seen] == [0, 0, 0, len(bulk), 65_536, 65_536, 0]


@pytest.mark.parametrize(
    ("sent", "code", "reason"),
    [
        (b"", None, Reason.HEAD_TIMEOUT),
        (b"\r\n\r\n", None, Reason.HEAD_TIMEOUT),
        (b"GET / HT", "slow", Reason.HEAD_TIMEOUT),
        (HEAD + b"X: y\r\n", "slow", Reason.HEAD_TIMEOUT),
        (HEAD + b"Content-Length: 3\r\n\r\nab", "slow", Reason.BODY_TIMEOUT),
        (CHUNKED + b"3\r\nabc\r\n", "slow", Reason.BODY_TIMEOUT),
        (CHUNKED + b"0\r\nX: y", "slow", Reason.BODY_TIMEOUT),
    ],
)
async def test_what_does_not_arrive_in_time_is_cut_off_and_counted(
    sent: bytes, code: str | None, reason: Reason
) -> None:
    before = counted(reason)
    async with serving(head_timeout_seconds=5, body_timeout_seconds=5) as served, client(served) as one:
        await one.send(sent)
        await until(lambda: len(served.state.connections) == 1)
        await asyncio.sleep(0.05)  # so that the bytes are there, too
        for seconds in (0, 4.5):
            served.sweep(seconds)
        assert counted(reason) == before
        for seconds in (4.9, 11):
            served.sweep(seconds)
        answer = await one.ends()
        assert (problem_in(answer) if answer else None) == (code and (408, code))
    assert counted(reason) == before + 1
    assert not served.seen


async def test_a_byte_at_a_time_does_not_put_a_deadline_off() -> None:
    async with serving(head_timeout_seconds=5) as served, client(served) as one:
        for seconds, byte in enumerate(HEAD[:10]):
            await one.send(bytes([byte]))
            await asyncio.sleep(0.01)
            served.sweep(seconds)
        assert problem_in(await one.ends()) == (408, "slow")


@pytest.mark.parametrize("is_seen_before", [True, False])
async def test_time_in_which_the_process_did_not_run_makes_nobody_late(is_seen_before: bool) -> None:
    async with serving(body_timeout_seconds=5) as served, client(served) as one:
        await one.send(request("POST", "/", "Content-Length: 3", body=b"ab"))
        await until(lambda: any(served.cycles()))
        if is_seen_before:
            served.sweep()
        served.sweep(7, stalled_seconds=6)
        served.sweep(10)
        assert served.state.connections
        served.sweep(12)
        assert problem_in(await one.ends()) == (408, "slow")


@pytest.mark.parametrize("own", ["?timeout=20s", "Request-Timeout: 20s"])
async def test_a_body_has_the_time_that_its_request_names(own: str) -> None:
    path, headers = (f"/{own}", ()) if own.startswith("?") else ("/", (own,))
    async with serving(body_timeout_seconds=5) as served, client(served) as one:
        await one.send(request("POST", path, *headers, "Content-Length: 3", body=b"ab"))
        await until(lambda: any(served.cycles()))
        for seconds in (0, 19):
            served.sweep(seconds)
        await one.send(b"c")
        assert await one.status() == 204


async def test_nobody_is_late_while_the_app_works() -> None:
    async with serving(head_timeout_seconds=5, body_timeout_seconds=5) as served, client(served) as one:
        served.may_answer.clear()
        await one.send(SECOND * 40 + HEAD)
        await until(lambda: bool(served.seen))
        for seconds in (0, 100, 200):
            served.sweep(seconds)
        served.may_answer.set()
        assert [await one.status() for _ in range(40)] == [204] * 40


async def test_a_silent_connection_ends_after_a_while() -> None:
    async with serving() as served, client(served) as one:
        await one.send(SECOND)
        assert await one.status() == 204
        for seconds in (0, patience.KEEP_ALIVE_SECONDS - 1):
            served.sweep(seconds)
        await one.send(SECOND)
        assert await one.status() == 204
        for seconds in (0, patience.KEEP_ALIVE_SECONDS + 1):
            served.sweep(seconds)
        assert await one.ends() == b""


async def test_a_pipeline_is_read_no_further_than_it_is_answered() -> None:
    async with serving() as served, client(served) as one:
        served.may_answer.clear()
        sending = asyncio.ensure_future(one.send(SECOND * 10_000))
        await until(lambda: bool(served.seen))
        for _ in range(100):
            await asyncio.sleep(0.001)
        (connection,) = served.state.connections
        parsed = len(connection.pipeline)  # type: ignore[union-attr]
        assert bounds.PIPELINE_MAX <= parsed <= bounds.PIPELINE_MAX + connections.SLICE_BYTES // len(SECOND) + 1
        served.may_answer.set()
        assert [await one.status() for _ in range(200)] == [204] * 200
        sending.cancel()


async def test_a_body_that_is_late_behind_its_answer_ends_the_connection() -> None:
    """An app may answer before it has the body: a caller that it does not know, for example."""
    async with serving(body_timeout_seconds=5) as served, client(served) as one:
        served.reads_bodies = False
        await one.send(request("POST", "/", "Content-Length: 3", body=b"ab"))
        assert await one.status() == 204
        for seconds in (0, 6):
            served.sweep(seconds)
        assert await one.ends() == b""


async def test_a_body_that_is_owed_behind_its_answer_has_not_the_time_that_its_request_names() -> None:
    async with serving(body_timeout_seconds=5) as served, client(served) as one:
        served.reads_bodies = False
        await one.send(request("POST", "/?timeout=5m", "Content-Length: 3", body=b"ab"))
        assert await one.status() == 204
        for seconds in (0, 6):
            served.sweep(seconds)
        assert await one.ends() == b""


class Another(HttpToolsProtocol):
    """What a new uvicorn could have."""

    def on_response_complete(self) -> None:
        self.transport.close()


def test_another_uvicorn_is_refused_at_import() -> None:
    check_uvicorn(HttpToolsProtocol)
    with pytest.raises(ImportError, match=r"on_response_complete is not the one known here"):
        check_uvicorn(Another)
