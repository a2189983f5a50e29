"""The way from an api to its `polka up`: a Unix socket in a folder that only its user may enter.

A request is one line of JSON, and so is the answer. Requests need the token. No browser can reach the socket.
"""

import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from polka.rules.drills import Drills, Target

ASK_SECONDS = 5.0


class Order(msgspec.Struct, frozen=True):
    """Start this drill; without a drill, only report."""

    token: str
    drill: Target | None = None


class Answer(msgspec.Struct, frozen=True):
    """The current state. `refused` is the reason why no drill was started."""

    drills: Drills
    refused: str | None = None


@asynccontextmanager
async def listen(path: Path, token: str, obey: Callable[[Target | None], Answer]) -> AsyncIterator[None]:
    """Take orders with the token while the block runs."""

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(ASK_SECONDS):
                order = msgspec.json.decode(await reader.readline(), type=Order)
                if hmac.compare_digest(order.token.encode(), token.encode()):
                    writer.write(msgspec.json.encode(obey(order.drill)))
                    await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(hear, path):
        yield


async def ask(path: str, token: str, drill: Target | None = None) -> Answer:
    """The answer of `polka up`.

    Raises:
        OSError, TimeoutError, ValueError: no answer came, or the token was rejected.
    """
    async with asyncio.timeout(ASK_SECONDS):
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(msgspec.json.encode(Order(token, drill)) + b"\n")
            return msgspec.json.decode(await reader.read(), type=Answer)
        finally:
            writer.close()
