"""Four times the best number of connections: the api must go on, answer in time, and not grow."""

import resource
from statistics import median

from bench.load import Client, Load, World
from bench.memory import PROCESSES, resident
from bench.report import Bound, Figure, Findings, Target
from bench.rounds import ratios
from bench.stand import new_key, polka, prove
from polka.local.up import Say
from polka.store import seed

TITLE = "`POST /transaction` under four times the load that it can take"
RATE_TARGET = Target(Bound.AT_LEAST, 0.7)
WAIT_TARGET = Target(Bound.AT_MOST, 10, " s")
OTHERS_TARGET = Target(Bound.AT_MOST, 0)
MEMORY_TARGET = Target(Bound.AT_MOST, 1.2)
CONNECTIONS = (64, 128, 256)
TIMES = 4
FILES_MIN = 2 * TIMES * max(CONNECTIONS)
"""Open files of a process with its connections: more than the default of many systems."""
WORLD = World()
ACCEPTED, REFUSED = (201,), (429, 503)


async def measure(quick: bool, say: Say) -> Findings:
    rounds, seconds, pressed_seconds = (2, 1, 5) if quick else (5, 4, 60)
    allow_files()
    async with polka(say) as running:
        await seed.seed(running.database_url, WORLD.banks, WORLD.accounts)
        client = Client(running.layout.url, WORLD, await new_key(running))
        await client.rate(max(CONNECTIONS), seconds)
        say(f"{rounds} rounds with each of {CONNECTIONS} connections …")
        rates: dict[int, list[float]] = {connections: [] for connections in CONNECTIONS}
        for _ in range(rounds):
            for connections in CONNECTIONS:
                rates[connections].append(await client.rate(connections, seconds))
        best = max(CONNECTIONS, key=lambda connections: median(rates[connections]))
        before = await resident(running)
        say(f"{pressed_seconds} s with {TIMES * best} …")
        load = await client.press(TIMES * best, pressed_seconds)
        after = await resident(running)
        proof = await prove("the payments", running, client.answered)
    accepted = count(load, ACCEPTED) / load.seconds
    figures = [
        *(Figure(f"accepted, {connections} connections", rates[connections], "/s") for connections in CONNECTIONS),
        Figure(f"accepted, {TIMES * best} connections", [accepted], "/s"),
        Figure("ratio to the best", ratios([accepted] * rounds, rates[best]), target=RATE_TARGET),
        Figure("longest wait", [load.wait_seconds_max], " s", WAIT_TARGET),
        Figure("answers of 429 and 503", [count(load, REFUSED)]),
        Figure(
            "other answers than 201, 429 and 503, and connections that broke",
            [load.requests - count(load, ACCEPTED + REFUSED) + load.broken],
            target=OTHERS_TARGET,
        ),
    ]
    for name in PROCESSES:
        figures += [
            Figure(f"{name}'s memory before", before[name], " MiB"),
            Figure(f"{name}'s memory after it", after[name], " MiB"),
            Figure(f"ratio, {name}'s memory", ratios(after[name], before[name]), target=MEMORY_TARGET),
        ]
    conditions = (
        f"One api process, its cache and its Postgres run; payments between {WORLD}, each with an Idempotency-Key of "
        f"its own. First {rounds} rounds of {seconds} s with each of {CONNECTIONS} connections, then "
        f"{pressed_seconds} s with {TIMES} times those that were best; every connection sends its next payment as soon "
        "as its last is answered. No request names a timeout, so an answer is due within 10 s. Memory is what is "
        "resident, several times from the end of a load on."
    )
    return Findings(conditions, figures, [proof])


def count(load: Load, statuses: tuple[int, ...]) -> int:
    return sum(load.statuses.get(status, 0) for status in statuses)


def allow_files() -> None:
    """Raise the limit of open files for processes started from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES_MIN:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MIN, hard))
