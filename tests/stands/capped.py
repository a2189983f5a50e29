"""The capped lane of an api alone, and a stand-in for its cache."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import httpx

import posts
from api.http.refusals import Refusal, Refused

CAP = 1_000


async def cap(connection: asyncpg.Connection, amount: int | None = CAP) -> int:
    """Give bank1 this cap, or none. Returns the version of the policy."""
    seen = await connection.fetchval("SELECT coalesce(max(version), 0) FROM bank_terms")
    caps = json.dumps({"USD": amount} if amount is not None else {})
    version: int = await connection.fetchval(
        "SELECT polka_change_terms('bank1', $1, $2, 'no', '{}', '{}', 'a test')", seen, caps
    )
    return version


class Cache:
    """Stands in for the cache: answers requests for room as the test decides, and keeps all requests."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []
        self.epoch = 0
        self.is_away = False
        self.refuses: Callable[[dict[str, Any]], dict[int, Any]] = lambda _: {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.is_away:
            raise httpx.ConnectError("no cache here")
        body = json.loads(request.content)
        if request.url.path == "/balance":
            self.told += body
            return httpx.Response(200)
        self.asked.append(body)
        return httpx.Response(200, json={"epoch": self.epoch, "policy": body["policy"], "refused": self.refuses(body)})


Start = Callable[..., Any]


@asynccontextmanager
async def starting(database_url: str, connection: asyncpg.Connection, cache: Cache) -> AsyncIterator[Start]:
    """Starts the posting part of an api with bank1's cap."""
    await cap(connection)
    async with posts.starting(database_url, connection) as start:
        yield partial(start, cache=cache)


def refusal(outcome: Any) -> Refusal:
    assert isinstance(outcome, Refused), outcome
    return outcome.refusal
