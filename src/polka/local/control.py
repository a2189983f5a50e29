"""The way from an api to the `polka up` that looks after it: a Unix socket in a folder that only its user may enter.

One line of JSON asks, one answers. Whoever asks must know the token; no browser can get here.
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
    """Start this drill, or none: only tell."""

    token: str
    drill: Target | None = None


class Answer(msgspec.Struct, frozen=True):
    """How it is now; `refused` says why nothing was started."""

    drills: Drills
    refused: str | None = None


@asynccontextmanager
async def listen(path: Path, token: str, obey: Callable[[Target | None], Answer]) -> AsyncIterator[None]:
    """Take orders while the block runs, from whoever has the token."""

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
    """What `polka up` answers.

    Raises:
        OSError, TimeoutError, ValueError: it does not, or does not take the token.
    """
    async with asyncio.timeout(ASK_SECONDS):
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(msgspec.json.encode(Order(token, drill)) + b"\n")
            return msgspec.json.decode(await reader.read(), type=Answer)
        finally:
            writer.close()
