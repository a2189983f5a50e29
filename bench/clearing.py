"""Closing and settling a large window under load: payments and the cache's answers must not wait for the clearing."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import msgspec

from bench.growth import grow
from bench.load import Client, Load, World
from bench.report import Bound, Figure, Findings, Target
from bench.rounds import ratios
from bench.stand import Proof, copied_database, database_server, new_database, new_key, polka, prove, together
from polka.client import AsyncClient
from polka.local.up import Running, Say
from polka.service.background import background
from polka.store import database

TITLE = "Closing and settling a window of 1M payments and 1,000 banks under load"
STALL_TARGET = Target(Bound.AT_MOST, 50, " ms")
WAIT_TARGET = Target(Bound.AT_MOST, 3)
CONNECTIONS = 32
REST_MILLISECONDS = 50
NETTED_SECONDS = 120
PROBE_SECONDS = 0.005
IS_NETTED = "SELECT is_netted FROM windows WHERE id = 1"
JSON = {"Content-Type": "application/json"}


class Span(msgspec.Struct, frozen=True):
    """Results of some seconds of load, in milliseconds."""

    wait_p99: float
    stall: float
    rate: float


class Clearing(msgspec.Struct, frozen=True):
    """The time in milliseconds until the window was closed, settled, and its netting figures were computed."""

    closed: float
    settled: float
    netted: float


async def measure(quick: bool, say: Say) -> Findings:
    rounds, seconds, world, payments = (
        (2, 3, World(50, 500), 20_000) if quick else (5, 10, World(1_000, 10_000), 1_000_000)
    )
    before: list[Span] = []
    during: list[Span] = []
    cleared: list[Clearing] = []
    proofs: list[Proof] = []
    async with database_server() as server:
        say(f"Storing {payments:,} payments …")
        await grow(await new_database(server, "stored"), world, payments)
        say(f"{rounds} rounds …")
        for _ in range(rounds):
            async with copied_database(server, "stored") as url, polka(say, url) as running:
                client = Client(running.layout.url, world, await new_key(running))
                await client.stroll(CONNECTIONS, REST_MILLISECONDS, 2)  # warms up
                before.append(await span(running, client, seconds))
                clearing = asyncio.create_task(clear(running))
                during.append(await span(running, client, seconds))
                cleared.append(await clearing)
                proofs.append(await prove("", running, client.answered, payments))
    stalls = [[one.stall for one in spans] for spans in (before, during)]
    waits = [[one.wait_p99 for one in spans] for spans in (before, during)]
    figures = [
        Figure("longest answer to `POST /balance` before", stalls[0], " ms"),
        Figure("longest answer to `POST /balance` while clearing", stalls[1], " ms", STALL_TARGET),
        Figure("99 % of payments are answered within, before", waits[0], " ms"),
        Figure("99 % of payments are answered within, while clearing", waits[1], " ms"),
        Figure("ratio of the two", ratios(waits[1], waits[0]), target=WAIT_TARGET),
        Figure("the window is closed after", [one.closed for one in cleared], " ms"),
        Figure("settled after another", [one.settled for one in cleared], " ms"),
        Figure("its netting figures are there after another", [one.netted for one in cleared], " ms"),
        Figure("payments a second, before", [one.rate for one in before], "/s"),
        Figure("payments a second, while clearing", [one.rate for one in during], "/s"),
    ]
    conditions = (
        f"Each round has a new copy of a database with {payments:,} posted payments between {world}, all in the open "
        f"window, and starts an api and a cache on it. {CONNECTIONS} connections send payments, and each rests for "
        f"{REST_MILLISECONDS} ms on average before it sends: first for {seconds} s, then for {seconds} s in which the "
        "window is closed, settled and netted. Beside them `POST /balance` is asked every "
        f"{PROBE_SECONDS * 1000:g} ms by a client that waits for the answer. {rounds} rounds."
    )
    return Findings(conditions, figures, [together("each round's database", proofs)])


async def span(running: Running, client: Client, seconds: int) -> Span:
    """Some seconds of load, with questions to the cache in parallel."""
    async with probe(running) as answers:
        load: Load = await client.stroll(CONNECTIONS, REST_MILLISECONDS, seconds)
    return Span(load.wait_seconds_p99 * 1000, max(answers) * 1000, load.requests / load.seconds)


@asynccontextmanager
async def probe(running: Running) -> AsyncIterator[list[float]]:
    """Report an empty list of batches to the cache, again and again while the block runs. Each answer's time is in
    seconds."""
    answers: list[float] = []
    headers = JSON | {"Authorization": f"Bearer {running.cache_token}"}
    async with httpx.AsyncClient(base_url=running.cache_url, headers=headers, trust_env=False) as cache:

        async def ask_once() -> float:
            began = time.perf_counter()
            (await cache.post("/balance", content=b"[]")).raise_for_status()
            return time.perf_counter() - began

        async def ask_on() -> None:
            while True:
                answers.append(await ask_once())
                await asyncio.sleep(PROBE_SECONDS)

        await ask_once()  # connects
        async with background(ask_on()):
            yield answers


async def clear(running: Running) -> Clearing:
    """Close the first window and settle it. Returns after the computation of its netting figures."""
    url, key = running.layout.url, await new_key(running)
    async with AsyncClient(url, key) as client:
        began = time.perf_counter()
        await client.close_window(1)
        closed = time.perf_counter()
        await client.settle_window(1)
        settled = time.perf_counter()
    async with asyncio.timeout(NETTED_SECONDS), database.session(running.database_url) as connection:
        while not await connection.fetchval(IS_NETTED):
            await asyncio.sleep(0.1)
    return Clearing(*(1000 * one for one in (closed - began, settled - closed, time.perf_counter() - settled)))
