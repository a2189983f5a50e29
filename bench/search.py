"""The rate of reads with many payments stored against few: index walks must not slow down with the number of
payments."""

from functools import partial

from bench.growth import grow
from bench.load import World, read_rate
from bench.report import Bound, Figure, Findings, Target
from bench.rounds import compare, ratios
from bench.stand import database_server, new_database, new_key, polka, prove
from polka.local.up import Say

TITLE = "Reads with 5M payments stored against 10k"
TARGET = Target(Bound.AT_LEAST, 0.8)
WORLD = World(banks=100, accounts=100_000)
PATHS = ("/transaction", "/transactions?bank=bank1")
CONNECTIONS = 16


async def measure(quick: bool, say: Say) -> Findings:
    rounds, seconds, few, many = (2, 1, 10_000, 50_000) if quick else (7, 4, 10_000, 5_000_000)
    async with database_server() as server:
        urls = [await new_database(server, name) for name in ("few", "many")]
        for url, transactions in zip(urls, (few, many), strict=True):
            say(f"Storing {transactions:,} payments …")
            await grow(url, WORLD, transactions)
        async with polka(say, urls[0]) as with_few, polka(say, urls[1]) as with_many:
            sides = [(running.layout.url, await new_key(running)) for running in (with_many, with_few)]
            figures: list[Figure] = []
            for path in PATHS:
                reads = [partial(read_rate, f"{url}{path}", key, CONNECTIONS) for url, key in sides]
                say(f"{rounds} rounds of GET {path} …")
                rates_of_many, rates_of_few = await compare(rounds, seconds, *reads)
                figures += [
                    Figure(f"`GET {path}`, {few:,} stored", rates_of_few, "/s"),
                    Figure(f"`GET {path}`, {many:,} stored", rates_of_many, "/s"),
                    Figure("ratio", ratios(rates_of_many, rates_of_few), target=TARGET),
                ]
            proofs = [
                await prove(f"the one with {stored:,}", running, stored)
                for running, stored in ((with_few, few), (with_many, many))
            ]
    conditions = (
        f"Two databases of one Postgres, both with {WORLD}: one with {few:,} payments and one with {many:,}, all "
        "posted; each with an api and a cache, which run all the time. The searches answer pages of 50 payments. "
        f"{CONNECTIONS} connections with an operator's key; {rounds} rounds of {seconds} s a side."
    )
    return Findings(conditions, figures, proofs)
