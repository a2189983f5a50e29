"""The cache's door: what goes with each batch of an api is answered here, where Litestar would cost more than the work.

Whatever is not plain goes on to Litestar with the same body: all refusals are made there.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, Receive, Send

from cache.keeping.keeper import Keeper
from cache.routes import balances
from polka.rules.messages import Asked, Told
from polka.store import positions

CONTENT_TYPE = (b"content-type", b"application/json")


class Door:
    """Answers `POST /balance` and `POST /balance/reservation`."""

    def __init__(self, app: ASGIApp, keeper: Keeper) -> None:
        self._app = app
        self._keeper = keeper
        self._answers: dict[str, Callable[[bytes], Awaitable[Any]]] = {
            "/balance": self._hold,
            "/balance/reservation": self._reserve,
        }

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        answer = self._answers.get(scope["path"]) if scope["method"] == "POST" else None
        if answer is None:
            await self._app(scope, receive, send)
            return
        messages: list[Any] = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        try:
            content = positions.encode(await answer(b"".join(message.get("body", b"") for message in messages)))
        except (ValueError, RecursionError, HTTPException):
            await self._app(scope, again(messages, receive), send)
            return
        scope["path_template"] = scope["path"]
        headers = [CONTENT_TYPE, (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": False})

    async def _hold(self, body: bytes) -> Any:
        return balances.held(self._keeper, decode_told(body))

    async def _reserve(self, body: bytes) -> Any:
        return await balances.reserved(self._keeper, decode_asked(body))


def again(messages: list[Any], receive: Receive) -> Receive:
    """Receives these messages first."""
    left = iter(messages)

    async def next_message() -> Any:
        return next(left, None) or await receive()

    return next_message


decode_told = msgspec.json.Decoder(list[Told]).decode
decode_asked = msgspec.json.Decoder(Asked).decode
