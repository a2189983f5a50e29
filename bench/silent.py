"""Payments beside 10,000 connections of others. Half are silent, half send a byte a second."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from bench.load import Client, World
from bench.report import Bound, Figure, Findings, Target
from bench.rounds import ratios
from bench.silence import CONNECTIONS as SILENT
from bench.silence import SOURCES
from bench.sink import HEAD_SECONDS
from bench.stand import new_key, polka, prove
from polka.local.up import Say
from polka.service.failure import Failure
from polka.store import seed

TITLE = "`POST /transaction` beside 10,000 connections that send nothing or a byte a second"
TARGET = Target(Bound.AT_LEAST, 0.8)
WORLD = World()
CONNECTIONS = 50


async def measure(quick: bool, say: Say) -> Findings:
    rounds, seconds, sink_seconds = (1, 5, 5) if quick else (3, 60, 20)
    without: list[float] = []
    beside: list[float] = []
    elsewhere: list[float] = []
    cut: list[float] = []
    own: list[float] = []
    async with polka(say) as running:
        await seed.seed(running.database_url, WORLD.banks, WORLD.accounts)
        client = Client(running.layout.url, WORLD, await new_key(running))
        await client.rate(CONNECTIONS, 2)  # warms up
        for _ in range(rounds):
            before = await client.rate(CONNECTIONS, seconds // 2)
            say(f"{SILENT:,} connections …")
            async with silence(running.layout.url) as said:
                beside.append(await client.rate(CONNECTIONS, seconds))
                cut_off, own_seconds = said()
            cut.append(cut_off)
            own.append(own_seconds / seconds)
            say("the same against a listener that does nothing …")
            async with sink() as url, silence(url):
                await asyncio.sleep(HEAD_SECONDS)  # no connection is closed earlier
                elsewhere.append(await client.rate(CONNECTIONS, sink_seconds))
            without.append((before + await client.rate(CONNECTIONS, seconds // 2)) / 2)
        proof = await prove("the payments", running, client.answered)
    figures = [
        Figure("without them", without, "/s"),
        Figure("beside them", beside, "/s"),
        Figure("ratio", ratios(beside, without), target=TARGET),
        Figure("beside as many to a listener that does nothing", elsewhere, "/s"),
        Figure("ratio, which the machine alone loses", ratios(elsewhere, without)),
        Figure("of them cut off meanwhile", cut),
        Figure("processors that the silent clients take themselves", own),
    ]
    conditions = (
        f"One api process, its cache and its Postgres run; payments between {WORLD} on {CONNECTIONS} connections, "
        f"each with an Idempotency-Key of its own. Each round sends for {seconds} s beside a process that keeps "
        f"{SILENT:,} connections to the same port open, from {len(SOURCES)} addresses. Half of them send nothing, half "
        "a byte a second, and each that is cut off is opened again. Then the payments go on for "
        f"{sink_seconds} s beside as many connections to another process, which accepts them, reads nothing, and "
        f"closes each after {HEAD_SECONDS:g} s. The rate that is lost there goes to the silent clients themselves, on "
        f"a machine of few cores. Without any of these, payments go on for {seconds // 2} s before and {seconds // 2} "
        f"s after, because the rate falls as the tables grow. {rounds} rounds."
    )
    return Findings(conditions, figures, [proof])


@asynccontextmanager
async def sink() -> AsyncIterator[str]:
    """The URL of a listener that does nothing. It listens while the block runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.sink", "127.0.0.1"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def silence(url: str) -> AsyncIterator[Callable[[], tuple[float, float]]]:
    """Keep the connections open while the block runs. Gives a function for the number of cut off connections and the
    processor seconds.

    Raises:
        Failure: the connections cannot be opened.
    """
    parts = urlsplit(url)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.silence", str(parts.hostname), str(parts.port)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    lines: list[bytes] = []

    async def read(stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            lines.append(line)

    reading = asyncio.create_task(read(process.stdout))
    try:
        while not lines:
            if reading.done():
                raise Failure("The silent connections cannot be opened.")
            await asyncio.sleep(0.1)
        yield lambda: (float(lines[-1].split()[0]), float(lines[-1].split()[1]))
    finally:
        process.kill()
        await process.wait()
        await reading
