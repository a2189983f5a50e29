"""The cost of observability: payments with scraped metrics, written logs and an open console, against payments
without."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial

import httpx

from bench.before import empty_database, polka_of
from bench.load import Client, World
from bench.machine import ROOT
from bench.report import Bound, Figure, Findings, Target
from bench.rounds import alternate, ratios
from bench.stand import database_server, new_key, prove
from polka.local.up import Running, Say
from polka.service.background import background
from polka.service.failure import Failure

TITLE = "`POST /transaction` with metrics, logs and an open console against none of them"
TARGET = Target(Bound.AT_LEAST, 0.9)
WORLD = World()
CONNECTIONS = (64, 256)
SCRAPE_SECONDS = 5.0
MODULES = {"observed": "polka", "blind": "bench.blind"}


class Seen:
    """The numbers of observations."""

    pages = 0
    snapshots = 0


async def measure(quick: bool, say: Say) -> Findings:
    rounds, seconds = (2, 1) if quick else (40, 2)  # short, for the same conditions on both sides of a round
    figures: list[Figure] = []
    seen = Seen()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(database_server())
        observed, blind = [
            await stack.enter_async_context(polka_of(ROOT, await empty_database(server, name), say, module))
            for name, module in MODULES.items()
        ]
        keys = [await new_key(one) for one in (observed, blind)]
        clients = [Client(one.layout.url, WORLD, key) for one, key in zip((observed, blind), keys, strict=True)]
        await stack.enter_async_context(background(scrape(observed, seen)))
        await stack.enter_async_context(background(watch(observed, keys[0], seen)))
        for connections in CONNECTIONS:
            for client in clients:
                await client.rate(connections, 2)  # warms up
            say(f"{rounds} rounds with {connections} connections …")
            rates, base = await alternate(rounds, *(partial(one.rate, connections, seconds) for one in clients))
            figures += [
                Figure(f"observed, {connections} connections", rates, "/s"),
                Figure(f"blind, {connections} connections", base, "/s"),
                Figure(f"ratio, {connections} connections", ratios(rates, base), target=TARGET),
            ]
        proof = await prove("the payments that were observed", observed, clients[0].answered)
        if await counted(observed) < clients[0].answered or await counted(blind):
            raise Failure("The observed side must have counted its payments, and the blind one none.")
    if not seen.pages or not seen.snapshots:
        raise Failure(f"{seen.pages} pages of metrics and {seen.snapshots} snapshots of the console were seen.")
    conditions = (
        "Two databases of one Postgres, each with an api and a cache, which run all the time. One side counts, writes "
        f"its log, has the metrics of both its processes scraped every {SCRAPE_SECONDS:g} s, and a console open: "
        f"{seen.pages:,} pages and {seen.snapshots:,} snapshots were read. From the other all of that is taken out "
        f"before its start. Payments between {WORLD}, each with an Idempotency-Key of its own. {rounds} rounds of "
        f"{seconds} s a side."
    )
    return Findings(conditions, figures, [proof])


async def counted(running: Running) -> int:
    """The number of payments in the api's metrics."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        page = await client.get(f"{running.processes[-1].monitored_at}/metrics")
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in page.raise_for_status().text.splitlines()
        if line.startswith('polka_operations_total{operation="payment",')
    )


async def scrape(running: Running, seen: Seen) -> None:
    """Ask for the metrics of each process, as a Prometheus does, for ever."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        while True:
            for process in running.processes:
                (await client.get(f"{process.monitored_at}/metrics")).raise_for_status()
                seen.pages += 1
            await asyncio.sleep(SCRAPE_SECONDS)


async def watch(running: Running, key: str, seen: Seen) -> None:
    """Read the console's events, as a browser does, for ever."""
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=running.layout.url, headers=headers, trust_env=False, timeout=10) as client:
        while True:
            async with client.stream("GET", "/console/events") as events:
                events.raise_for_status()
                async for line in events.aiter_lines():
                    seen.snapshots += line.startswith("data:")
