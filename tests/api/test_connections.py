"""A connection does not live for ever: it ends with an answer, after so many requests or so long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http.client import HTTPConnection
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from polka.edge import connections
from polka.edge.bounds import Bounds
from polka.edge.drain import Drain
from polka.edge.gate import Gate
from polka.edge.server import protocol
from waiting import WAIT_SECONDS


async def app(_: Any, __: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """The port of a server whose connections are Polka's."""
    config = uvicorn.Config(app, interface="asgi3", lifespan="off", log_config=None)
    config.load()
    made = partial(protocol(Drain(0), Gate(Bounds())), config=config, server_state=ServerState(), app_state={})
    async with await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]


def answers_until_it_ends(port: int, most: int) -> int:
    """How many answers a client has had when it is told that its connection ends; `most` if it is not by then."""
    client = HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
    for count in range(1, most):
        client.request("GET", "/")
        response = client.getresponse()
        response.read()
        if response.will_close:
            return count
    client.close()
    return most


@pytest.mark.parametrize(
    ("requests", "seconds", "fewest", "most"), [(10, 3600.0, 5, 10), (10_000, 0.0, 1, 1), (10_000, 3600.0, 100, 100)]
)
def test_a_connection_ends_after_so_many_requests_or_so_long(
    monkeypatch: pytest.MonkeyPatch, requests: int, seconds: float, fewest: int, most: int
) -> None:
    monkeypatch.setattr(connections, "CONNECTION_REQUESTS_MAX", requests)
    monkeypatch.setattr(connections, "CONNECTION_SECONDS_MAX", seconds)

    async def count() -> int:
        async with serving() as port:
            return await asyncio.to_thread(answers_until_it_ends, port, 100)

    assert fewest <= asyncio.run(count()) <= most
