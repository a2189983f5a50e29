"""The rate of `POST /transaction` with many payments stored against few: a database that fills must not slow down."""

from functools import partial

from bench.growth import grow
from bench.load import Client, World
from bench.report import Bound, Figure, Findings, Target
from bench.rounds import alternate, ratios
from bench.stand import database_server, new_database, polka, prove
from polka.up import Say

TITLE = "`POST /transaction` with 5M payments stored against 10k"
TARGET = Target(Bound.AT_LEAST, 0.8)
WORLD = World(banks=100, accounts=100_000)
CONNECTIONS = 64


async def measure(quick: bool, say: Say) -> Findings:
    rounds, seconds, few, many = (2, 1, 1_000, 50_000) if quick else (9, 4, 10_000, 5_000_000)
    async with database_server() as server:
        urls = [await new_database(server, name) for name in ("few", "many")]
        for url, transactions in zip(urls, (few, many), strict=True):
            say(f"Storing {transactions:,} payments …")
            await grow(url, WORLD, transactions)
        async with polka(say, urls[0]) as small, polka(say, urls[1]) as large:
            to_small, to_large = Client(small.layout.url, WORLD), Client(large.layout.url, WORLD)
            for client in (to_small, to_large):
                await client.rate(CONNECTIONS, 1)  # warms up
            say(f"{rounds} rounds …")
            at_small, at_large = await alternate(
                rounds, *(partial(client.rate, CONNECTIONS, seconds) for client in (to_small, to_large))
            )
            say("Auditing both …")
            proofs = [
                await prove(
                    f"the database that had {had:,}", running.database_url, running.layout.cache_url, client, had
                )
                for had, running, client in ((few, small, to_small), (many, large, to_large))
            ]
    figures = [
        Figure(f"with {few:,} stored", at_small, "/s"),
        Figure(f"with {many:,} stored", at_large, "/s"),
        Figure("ratio", ratios(at_large, at_small), target=TARGET),
    ]
    conditions = (
        f"Two databases of one Postgres, each with an api and a cache of its own and with {WORLD}; one had {few:,} "
        f"payments when the load began and the other {many:,}, all posted, each with its batch and its idempotency "
        f"key. Payments on {CONNECTIONS} connections, each with an Idempotency-Key of its own; {rounds} rounds of "
        f"{seconds} s a side. The counts below are those after the load."
    )
    return Findings(conditions, figures, proofs)
