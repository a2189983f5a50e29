"""A server in the test's process, with an app that reports its requests, and clients that send bytes."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from polka.edge import newcomers
from polka.edge.bounds import REFUSED_BY_REASON, Bounds, Reason
from polka.edge.drain import Drain
from polka.edge.gate import Gate
from polka.edge.server import protocol
from waiting import WAIT_SECONDS

SOCKET_BYTES = 4096
"""The kernel's buffer for an answer: small, so that little data stays unread."""


class Served:
    """A server, its app's requests, and whether the app may answer."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.state = ServerState()
        self.seen: list[tuple[str, bytes, list[bytes]]] = []
        self.body = b""
        self.reads_bodies = True
        self.read_bytes = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.port = 0

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = self.reads_bodies
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
            self.read_bytes += len(message["body"])
        self.seen.append((scope["path"], body, [name for name, _ in scope["headers"]]))
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200 if self.body else 204, "headers": []})
        await send({"type": "http.response.body", "body": self.body})

    def cycles(self) -> list[Any]:
        """The current request of each connection; None before its first whole head."""
        connections: list[Any] = list(self.state.connections)
        return [None if one.is_new else one.cycle for one in connections]

    def sweep(self, seconds: float = 0.0, stalled_seconds: float = 0.0) -> None:
        """Sweep like the server, `seconds` later."""
        now = asyncio.get_running_loop().time() + seconds
        guests: list[Any] = list(self.state.connections)
        self.gate.sweep(guests, now, stalled_seconds)
        self.gate.cut_off_newcomers(now, stalled_seconds)


@asynccontextmanager
async def serving(encryption: ssl.SSLContext | None = None, **chosen: Any) -> AsyncIterator[Served]:
    """A server with these bounds."""
    served = Served(Gate(Bounds(**chosen)))
    config = uvicorn.Config(served.app, interface="asgi3", lifespan="off", log_config=None, ws="none")
    config.load()
    made = partial(protocol(Drain(0), served.gate, encryption), config=config, server_state=served.state, app_state={})
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
    if encryption is None:
        newcomers.await_heads([listening])
    served.port = listening.getsockname()[1]
    async with await asyncio.get_running_loop().create_server(made, sock=listening):
        yield served


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            with suppress(ConnectionError):
                await self.writer.drain()

    async def status(self) -> int:
        async with asyncio.timeout(WAIT_SECONDS):
            head = await self.reader.readuntil(b"\r\n\r\n")
        return int(head.split()[1])

    async def ends(self) -> bytes:
        """All bytes until the server closes the connection."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.reader.read()


@asynccontextmanager
async def client(served: Served, encryption: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=encryption)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():
            await asyncio.sleep(0)


def unread(served: Served) -> bool:
    """Whether a part of a whole answer waits in the server, ready for the client to read."""
    connections: list[Any] = [one for one in served.state.connections if not one.is_new]  # type: ignore[union-attr]
    return any(
        one.cycle and one.cycle.response_complete and one.transport.get_write_buffer_size() for one in connections
    )


def problem_in(answer: bytes) -> tuple[int, str]:
    """Status and code of the problem, which must be the whole answer before the end of the connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    assert request_id(head)
    assert body.endswith(b"\n")
    document = json.loads(body)
    assert int(head.split()[1]) == document["status"]
    return document["status"], document["code"]


def request_id(head: bytes) -> str:
    [line] = [line for line in head.decode().split("\r\n") if line.startswith("x-request-id: ")]
    return line.removeprefix("x-request-id: ")


def counted(reason: Reason) -> int:
    return REFUSED_BY_REASON[reason].number
