"""A plain request is answered without the app; every other one goes to the app, from the same bytes."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from polka.edge.bounds import Bounds
from polka.edge.direct import Direct
from polka.edge.drain import Drain
from polka.edge.gate import Gate
from polka.edge.server import protocol
from waiting import WAIT_SECONDS

pytestmark = pytest.mark.anyio

BODY = b'{"amount": 1}'
HEAD = b"POST /transaction HTTP/1.1\r\nHost: polka\r\nContent-Length: 13\r\n"
PLAIN = HEAD + b"\r\n" + BODY
DIRECT, APP = "direct", "app"


def with_header(header: bytes) -> bytes:
    return HEAD + header + b"\r\n\r\n" + BODY


class Server:
    """Answers with the way that a request has taken, and with its body. Direct answers wait until they are released."""

    def __init__(self) -> None:
        self.drain = Drain(0)
        self.takes = True
        self.error: Exception | None = None
        self.taken: list[Direct] = []
        self.holds = False
        self.scopes: list[Any] = []

    def take(self, request: Direct) -> bool:
        if self.error:
            raise self.error
        if not self.takes:
            return False
        self.taken.append(request)
        if not self.holds:
            self.release()
        return True

    def release(self) -> None:
        for request in self.taken:
            content = DIRECT.encode() + b" " + request.body
            request.answer(201, [(b"content-length", b"%d" % len(content))], content)
        self.taken.clear()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        content = APP.encode() + b" " + body
        headers = [(b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    @asynccontextmanager
    async def client(self) -> AsyncIterator["Client"]:
        config = uvicorn.Config(self.app, interface="asgi3", lifespan="off", log_config=None)
        config.load()
        made = partial(
            protocol(self.drain, Gate(Bounds()), take=self.take),
            config=config,
            server_state=ServerState(),
            app_state={},
        )
        async with (
            await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0) as listening,
            asyncio.timeout(WAIT_SECONDS),
        ):
            reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
            try:
                yield Client(reader, writer)
            finally:
                writer.close()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> tuple[bytes, bytes]:
        """The head and the body of the next answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head, await self.reader.readexactly(length)

    async def ask(self, request: bytes) -> tuple[str, bytes]:
        """The way that the request has taken, and its body."""
        self.writer.write(request)
        _, body = await self.answer()
        way, _, rest = body.partition(b" ")
        return way.decode(), rest

    async def has_ended(self) -> bool:
        return await self.reader.read() == b""


PLAIN_ONES = {
    "as it is": PLAIN,
    "with a key": with_header(b"Idempotency-Key: one"),
    "to be the last": with_header(b"Connection: close"),
    "of HTTP/1.0": PLAIN.replace(b"1.1", b"1.0", 1),
}
OTHERS = {
    "another method": PLAIN.replace(b"POST", b"PATCH", 1),
    "a path below": PLAIN.replace(b"/transaction", b"/transaction/1", 1),
    "a query": PLAIN.replace(b"/transaction", b"/transaction?timeout=1s", 1),
    "an absolute URL": PLAIN.replace(b"/transaction", b"http://polka/transaction", 1),
    "a repeated header": with_header(b"X-One: 1\r\nX-One: 2"),
    "a timeout": with_header(b"Request-Timeout: 1s"),
    "a version": with_header(b'If-Match: "1"'),
    "an encoding": with_header(b"Content-Encoding: gzip"),
    "an upgrade": with_header(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"),
    "chunks": HEAD.replace(b"Content-Length: 13", b"Transfer-Encoding: chunked")
    + b"\r\nd\r\n"
    + BODY
    + b"\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("request_", PLAIN_ONES.values(), ids=PLAIN_ONES.keys())
async def test_a_plain_request_is_taken(request_: bytes) -> None:
    async with Server().client() as client:
        assert await client.ask(request_) == (DIRECT, BODY)


@pytest.mark.parametrize("request_", OTHERS.values(), ids=OTHERS.keys())
async def test_another_goes_to_the_app(request_: bytes) -> None:
    async with Server().client() as client:
        assert await client.ask(request_) == (APP, BODY)
        assert await client.ask(PLAIN) == (DIRECT, BODY)


async def test_what_is_left_goes_to_the_app_as_it_came() -> None:
    server = Server()
    server.takes = False
    async with server.client() as client:
        for number in (b"1", b"2"):
            assert await client.ask(with_header(b"X-Number: " + number)) == (APP, BODY)
    assert [scope["path"] for scope in server.scopes] == ["/transaction"] * 2
    assert [dict(scope["headers"])[b"x-number"] for scope in server.scopes] == [b"1", b"2"]


@pytest.mark.parametrize("place", [1, len(HEAD), len(HEAD) + 2, len(PLAIN) - 1])
async def test_a_body_that_comes_later_goes_to_the_app_and_one_that_comes_with_its_head_does_not(place: int) -> None:
    server = Server()
    way = DIRECT if place <= len(HEAD) else APP
    async with server.client() as client:
        client.writer.write(PLAIN[:place])
        while way == APP and not server.scopes:
            await asyncio.sleep(0)
        assert await client.ask(PLAIN[place:]) == (way, BODY)


async def test_a_large_body_goes_to_the_app() -> None:
    body = b" " * 20_000 + BODY
    async with Server().client() as client:
        head = HEAD.replace(b"13", str(len(body)).encode())
        assert await client.ask(head + b"\r\n" + body) == (APP, body)


async def test_answers_of_a_pipeline_come_in_its_order() -> None:
    server = Server()
    server.holds = True
    async with server.client() as client:
        client.writer.write(PLAIN + PLAIN.replace(b"1}", b"2}") + PLAIN.replace(b"1}", b"3}"))
        while not server.taken:
            await asyncio.sleep(0)
        server.release()
        answers = [await client.answer() for _ in range(3)]
    assert [body for _, body in answers] == [b"direct " + BODY] + [b'app {"amount": %d}' % number for number in (2, 3)]


async def test_a_bad_request_behind_a_taken_one_is_refused_behind_its_answer() -> None:
    server = Server()
    server.holds = True
    async with server.client() as client:
        client.writer.write(PLAIN + b"\0\r\n\r\n")
        while not server.taken:
            await asyncio.sleep(0)
        server.release()
        assert (await client.answer())[1] == b"direct " + BODY
        assert (await client.answer())[0].startswith(b"HTTP/1.1 400 ")
        assert await client.has_ended()


async def test_the_last_request_of_a_connection_is_answered_and_closes_it() -> None:
    async with Server().client() as client:
        client.writer.write(with_header(b"Connection: close"))
        await see_the_last_answer(client)


async def test_a_draining_server_closes_the_connection_with_the_answer() -> None:
    async with held() as (server, client):
        server.taken[0]._connection.end_with_next_answer()
        server.release()
        await see_the_last_answer(client)


@asynccontextmanager
async def held() -> AsyncIterator[tuple[Server, Client]]:
    """A server that has taken a client's payment, and does not answer yet."""
    server = Server()
    server.holds = True
    async with server.client() as client:
        client.writer.write(PLAIN)
        while not server.taken:
            await asyncio.sleep(0)
        yield server, client


async def see_the_last_answer(client: Client) -> None:
    """The payment is answered, and the answer closes the connection."""
    head, body = await client.answer()
    assert body == b"direct " + BODY
    assert b"\r\nconnection: close\r\n" in head
    assert await client.has_ended()


async def test_a_client_that_has_left_gets_no_answer() -> None:
    async with held() as (server, client):
        [request] = server.taken
        client.writer.transport.abort()
        while not request.disconnected:
            await asyncio.sleep(0)
        server.release()
        assert request._connection._outgoing.waiting_bytes == 0


async def test_a_failure_ends_the_connection_and_the_app_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The payment may have been taken before: done again, it would be made twice."""
    server = Server()
    server.error = RuntimeError("a fault")
    async with server.client() as client:
        client.writer.write(PLAIN)
        with caplog.at_level(logging.ERROR), pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.answer()
    assert server.scopes == []
    assert "a fault" in caplog.text
