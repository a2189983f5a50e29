"""The cache's door answers the most frequent requests here, because Litestar would cost more than the work.

These are the messages for each batch, and the question about one account. All other requests go on to Litestar with the
same body. Litestar also makes the answers to invalid requests.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, Receive, Send

from cache.access import refuse
from cache.keeping.keeper import Keeper
from cache.routes import balances
from polka.rules.banks import account_asked
from polka.rules.messages import Asked, Told
from polka.store import database, positions
from polka.store.database import Pool

CONTENT_TYPE = (b"content-type", b"application/json")
ACCOUNTS = "/balance/{bank:str}/accounts"
OF_BANK = re.compile(r"/balance/([^/]+)/accounts")


class Door:
    """Answers `POST /balance`, `POST /balance/reservation` and `GET /balance/{bank}/accounts?account=…`."""

    def __init__(self, app: ASGIApp, keeper: Keeper, pool: Pool) -> None:
        self._app = app
        self._keeper = keeper
        self._pool = pool
        self._answers: dict[str, Callable[[bytes], Awaitable[Any]]] = {
            "/balance": self._hold,
            "/balance/reservation": self._reserve,
        }

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        if method == "POST" and (answer := self._answers.get(path)):
            await self._take(answer, scope, receive, send)
        elif method == "GET" and (account := account_asked(scope["query_string"])):
            await self._look(account, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _take(self, answer: Callable[[bytes], Awaitable[Any]], scope: Any, receive: Receive, send: Send) -> None:
        messages: list[Any] = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        try:
            content = positions.encode(await answer(b"".join(message.get("body", b"") for message in messages)))
        except (ValueError, RecursionError, HTTPException):
            await self._app(scope, again(messages, receive), send)
            return
        scope["path_template"] = scope["path"]
        await say(send, content)

    async def _look(self, account: str, scope: Any, receive: Receive, send: Send) -> None:
        bank = OF_BANK.fullmatch(scope["path"])
        if bank is None or self._keeper.service is None:
            await self._app(scope, receive, send)
            return
        patience = dict(scope["headers"]).get(b"request-timeout", b"").decode("latin-1")
        scope["path_template"] = ACCOUNTS
        try:
            found = await balances.accounts_of(self._keeper, self._pool, patience, bank[1], account)
        except HTTPException as refusal:
            await refuse(send, refusal.status_code, refusal.detail)
        except database.ERRORS:
            await self._app(scope, receive, send)
        else:
            await say(send, positions.encode(found))

    async def _hold(self, body: bytes) -> Any:
        return balances.held(self._keeper, decode_told(body))

    async def _reserve(self, body: bytes) -> Any:
        return await balances.reserved(self._keeper, decode_asked(body))


async def say(send: Send, content: bytes) -> None:
    headers = [CONTENT_TYPE, (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": False})


def again(messages: list[Any], receive: Receive) -> Receive:
    """Receives these messages first."""
    left = iter(messages)

    async def next_message() -> Any:
        return next(left, None) or await receive()

    return next_message


decode_told = msgspec.json.Decoder(list[Told]).decode
decode_asked = msgspec.json.Decoder(Asked).decode
