"""The rate of `POST /transaction` with many payments stored against few: a filling database must not slow down.

Each round with many payments begins a generation of idempotency keys in its middle, and drops old keys. The second of
these rounds drops the keys of all payments stored before the bench.
"""

import asyncio
from collections.abc import Awaitable

import asyncpg

from bench.growth import grow
from bench.load import Client, World
from bench.report import Bound, Figure, Findings, Target
from bench.rounds import alternate, ratios
from bench.stand import Proof, copied_database, database_server, new_database, new_key, polka, prove, together
from cache.chores import pruning
from polka.local.up import Say
from polka.store import database

TITLE = "`POST /transaction` with 5M payments stored against 10k"
TARGET = Target(Bound.AT_LEAST, 0.8)
WORLD = World(banks=100, accounts=100_000)
CONNECTIONS = 64


async def measure(quick: bool, say: Say) -> Findings:
    rounds, seconds, few, many = (2, 1, 1_000, 50_000) if quick else (7, 4, 10_000, 5_000_000)
    proofs_of_few: list[Proof] = []
    answered_by_many = 0
    async with database_server() as server:
        urls = [await new_database(server, name) for name in ("few", "many")]
        for url, transactions in zip(urls, (few, many), strict=True):
            say(f"Storing {transactions:,} payments …")
            await grow(url, WORLD, transactions)

        async def rate_at_few() -> float:
            """On a copy, so that no round has more payments."""
            async with copied_database(server, "few") as url, polka(say, url) as running:
                client = Client(running.layout.url, WORLD, await new_key(running))
                rate = await warm_rate(client, seconds)
                proofs_of_few.append(await prove("", running, client.answered, few))
                return rate

        async def rate_at_many() -> float:
            nonlocal answered_by_many
            async with polka(say, urls[1]) as running:
                client = Client(running.layout.url, WORLD, await new_key(running))
                rate = await warm_rate(client, seconds, next_generation(urls[1], 1 + seconds / 2))
                answered_by_many += client.answered
                return rate

        rates_at_few, rates_at_many = await alternate(rounds, rate_at_few, rate_at_many)
        async with polka(say, urls[1]) as running:
            proof = await prove(f"the one with {many:,}", running, answered_by_many, many)
    figures = [
        Figure(f"with {few:,} stored", rates_at_few, "/s"),
        Figure(f"with {many:,} stored", rates_at_many, "/s"),
        Figure("ratio", ratios(rates_at_many, rates_at_few), target=TARGET),
    ]
    conditions = (
        f"Two databases of one Postgres, both with {WORLD}: one with {few:,} payments, of which each round has a new "
        f"copy, and one with {many:,} and those of the rounds before; all posted, each with its batch and its "
        "idempotency key. In the middle of each round with many, a generation of keys begins, and old keys are "
        f"dropped: in the second of them {many:,}. Each round starts an api and a cache and sends for a second before "
        f"it measures. Payments on {CONNECTIONS} connections, each with an Idempotency-Key of its own; {rounds} rounds "
        f"of {seconds} s a side. "
        "The counts below are those after the load."
    )
    return Findings(conditions, figures, [together(f"each copy of the one with {few:,}", proofs_of_few), proof])


async def warm_rate(client: Client, seconds: int, meanwhile: Awaitable[None] | None = None) -> float:
    async def rate() -> float:
        await client.rate(CONNECTIONS, 1)
        return await client.rate(CONNECTIONS, seconds)

    if meanwhile is None:
        return await rate()
    measured, _ = await asyncio.gather(rate(), meanwhile)
    return measured


async def next_generation(database_url: str, after_seconds: float) -> None:
    """Begin the next generation of idempotency keys, like the cache once a day, and drop old keys."""
    await asyncio.sleep(after_seconds)
    async with database.session(database_url) as connection:
        is_begun = False
        while not is_begun:
            try:
                is_begun = await pruning.begin(connection, 0) is not None
                await pruning.drop(connection)
            except asyncpg.LockNotAvailableError:
                await asyncio.sleep(0.1)
