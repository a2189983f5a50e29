"""Operations that the database rejects although they passed every check: only they fail, and the lane goes on soon."""

import asyncio
from collections import Counter

import asyncpg
import pytest
from prometheus_client import REGISTRY

from api.http.refusals import INTERNAL
from api.posting.batches import Outcome
from api.posting.posting import Posting
from capped import Cache
from posts import MARK, Apis, is_commit, pay, stored
from waiting import WAIT_SECONDS
from wire import Fault, Wire

pytestmark = pytest.mark.anyio

PAYMENTS = 512
POISON = 300
UNEXPECTED_RULE = f"ALTER TABLE transactions ADD CONSTRAINT ck_unexpected CHECK (amount <> {POISON})"
COMMITS_MAX = 20
"""One for the batch, and two for each time that it is halved."""


async def post_together(posting: Posting) -> list[Outcome]:
    """Post payments that share a batch, one of them poison."""
    payments = (pay(amount, MARK) for amount in range(1, PAYMENTS + 1))
    return await asyncio.gather(*(posting.post(one, None, WAIT_SECONDS) for one in payments))


async def is_alone(outcomes: list[Outcome], connection: asyncpg.Connection) -> None:
    assert [amount for amount, outcome in enumerate(outcomes, 1) if outcome is INTERNAL] == [POISON]
    rows = Counter(row["amount"] for row in await stored(connection))
    assert rows == Counter(set(range(1, PAYMENTS + 1)) - {POISON})


async def test_a_batch_with_a_poison_payment_takes_few_commits(
    start: Apis,
    connection: asyncpg.Connection,
) -> None:
    posting = await start()
    await connection.execute(UNEXPECTED_RULE)
    await is_alone(await post_together(posting), connection)
    assert await connection.fetchval("SELECT count(*) FROM batches") <= COMMITS_MAX


async def test_a_capped_batch_with_a_poison_payment_takes_few_reservations(
    start_capped: Apis,
    cache: Cache,
    connection: asyncpg.Connection,
) -> None:
    posting = await start_capped()
    await connection.execute(UNEXPECTED_RULE)
    await is_alone(await post_together(posting), connection)
    assert len(cache.asked) <= COMMITS_MAX
    replaced = {batch for asked in cache.asked for batch in asked["replaces"]}
    committed = {str(row["id"]) for row in await connection.fetch("SELECT id FROM batches")}
    assert replaced.isdisjoint(committed)


async def test_the_other_half_goes_over_another_connection_where_one_is_lost(
    start: Apis,
    wire: Wire,
    connection: asyncpg.Connection,
) -> None:
    posting = await start(wire.url)
    await connection.execute(UNEXPECTED_RULE)
    commits = 0

    def is_first_half(message: bytes) -> bool:
        nonlocal commits
        commits += is_commit(message)
        return commits == 2

    wire.arm(Fault.LOSE_ANSWER, is_first_half)
    before = failures_of_connections()
    await is_alone(await post_together(posting), connection)
    assert wire.struck.is_set()
    assert failures_of_connections() == before


def failures_of_connections() -> float:
    """Commits that were tried over a connection that was closed before."""
    return REGISTRY.get_sample_value("polka_commit_failures_total", {"reason": "InterfaceError"}) or 0
