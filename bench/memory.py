"""Resident memory of api and cache under many payments: the memory must not grow with the number of payments."""

import asyncio
from collections.abc import Sequence

import psutil

from bench.load import Client, World
from bench.report import Bound, Figure, Findings, Target
from bench.rounds import ratios
from bench.stand import new_key, polka, prove
from polka.local.up import Running, Say
from polka.store import seed

TITLE = "Resident memory after 1.1M payments against after 100k"
TARGET = Target(Bound.AT_MOST, 1.1)
WORLD = World()
CONNECTIONS = 64
PROCESSES = {"api": "api-1", "cache": "cache"}
SAMPLES = 5
SAMPLE_SECONDS = 0.5
MIB = 2**20


async def measure(quick: bool, say: Say) -> Findings:
    few, many = (2_000, 22_000) if quick else (100_000, 1_100_000)
    async with polka(say) as running:
        await seed.seed(running.database_url, WORLD.banks, WORLD.accounts)
        client = Client(running.layout.url, WORLD, await new_key(running))
        say(f"{few:,} payments …")
        await client.send(few, CONNECTIONS)
        before = await resident(running)
        say(f"{many:,} payments …")
        await client.send(many - client.answered, CONNECTIONS)
        after = await resident(running)
        proof = await prove("the payments", running, client.answered)
    figures = [
        figure
        for name in PROCESSES
        for figure in (
            Figure(f"{name} after {few:,} payments", before[name], " MiB"),
            Figure(f"{name} after {many:,} payments", after[name], " MiB"),
            Figure(f"ratio, {name}", ratios(after[name], before[name]), target=TARGET),
        )
    ]
    conditions = (
        f"One api process, its cache and its Postgres run; the api answers payments between {WORLD} on {CONNECTIONS} "
        f"connections, each with an Idempotency-Key of its own. Resident memory of each process, {SAMPLES} times from "
        "the end of the load on."
    )
    return Findings(conditions, figures, [proof])


async def resident(running: Running) -> dict[str, Sequence[float]]:
    """MiB of each process, several times."""
    processes = {process.name: psutil.Process(process.pid) for process in running.processes}
    samples: dict[str, list[float]] = {name: [] for name in PROCESSES}
    for _ in range(SAMPLES):
        for name, process in PROCESSES.items():
            samples[name].append(processes[process].memory_info().rss / MIB)
        await asyncio.sleep(SAMPLE_SECONDS)
    return dict(samples)
