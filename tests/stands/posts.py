"""The posting part of an api alone, its input, and checks of its results."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import asyncpg
import httpx

from api.posting.batches import Accepted, Outcome
from api.posting.operations import Pay
from api.posting.policies import Policies
from api.posting.posting import Posting, open_posting
from api.settings import Settings
from polka.rules.transactions import Party, Payment, Transaction
from polka.store.writers import open_writers
from wires import answered

Apis = Callable[..., Any]
Cache = Callable[[httpx.Request], httpx.Response]


def away(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("no cache here")


@asynccontextmanager
async def starting(database_url: str, connection: asyncpg.Connection) -> AsyncIterator[Apis]:
    """Starts the posting part of an api. Without `cache` the cache is down, and this must change nothing."""
    async with AsyncExitStack() as stack:

        async def start(url: str = database_url, cache: Cache = away, **settings: Any) -> Posting:
            chosen = Settings(database_url=url, **settings)
            writers = await stack.enter_async_context(open_writers(url, "tests", 2, chosen.commit_timeout_seconds))
            policies = Policies(writers)
            await policies.read_by(connection)
            return await stack.enter_async_context(open_posting(chosen, writers, answered(cache), policies))

        yield start


SLOW_COMMITS = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL; END $$;
CREATE TRIGGER wait AFTER INSERT ON transactions FOR EACH STATEMENT EXECUTE FUNCTION wait();
"""
"""The holder of the advisory lock 42 delays each commit at its end, with all its rows written."""


def pay(amount: int = 100, reference: str | None = None) -> Pay:
    return Pay(Payment(Party("bank1", "A1"), Party("bank2", "B1"), amount, "USD", reference))


def key(name: object) -> tuple[str, str]:
    return ("tester", str(name))


class Paid(NamedTuple):
    transaction: Transaction
    replayed: bool


def accepted(outcome: Outcome) -> Paid:
    assert isinstance(outcome, Accepted), outcome
    assert isinstance(outcome.result, Transaction)
    return Paid(outcome.result, outcome.replayed)


async def stored(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await connection.fetch("SELECT * FROM transactions ORDER BY id")
    return rows


MARK = "strike here"


def is_commit(message: bytes) -> bool:
    return MARK.encode() in message
