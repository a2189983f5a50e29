"""The waiting time of a bank with one connection beside a flooding bank, against its waiting time alone."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from bench.load import Client, Load, World
from bench.report import Bound, Figure, Findings, Target
from bench.rounds import alternate, ratios
from bench.stand import bank_key, polka, prove
from polka.local.up import Say
from polka.store import seed

TITLE = "A bank with one connection beside a bank that floods the api"
TARGET = Target(Bound.AT_MOST, 3)
WORLD = World()
FLOODING, PAYING = 1, 2
"""The numbers of the two banks."""
BULK_CONNECTIONS = 200
PAYMENTS = 1_000
CONNECTIONS = 100
HEAD_START_SECONDS = 1


async def measure(quick: bool, say: Say) -> Findings:
    rounds, seconds = (2, 1) if quick else (9, 5)
    figures: list[Figure] = []
    async with polka(say) as running:
        await seed.seed(running.database_url, WORLD.banks, WORLD.accounts)
        url = running.layout.url
        paying = Client(url, WORLD, await bank_key(running, seed.bank_name(PAYING)), PAYING)
        flooding = Client(url, WORLD, await bank_key(running, seed.bank_name(FLOODING)), FLOODING)
        floods: dict[str, tuple[Flood, Target | None]] = {
            f"bulks of {PAYMENTS:,} on {BULK_CONNECTIONS} connections": (
                partial(flooding.press_bulks, BULK_CONNECTIONS, PAYMENTS),
                TARGET,
            ),
            f"payments on {CONNECTIONS} connections": (partial(flooding.press, CONNECTIONS), None),
        }
        await paying.rate(1, 2)  # warms up
        for name, (flood, target) in floods.items():
            say(f"{rounds} rounds beside {name} …")
            seen: list[Load] = []
            waits, base = await alternate(
                rounds, partial(wait_beside, paying, seconds, flood, seen), partial(wait, paying, seconds)
            )
            accepted = [one.statuses.get(201, 0) / one.seconds for one in seen]
            figures += [
                Figure(f"99 % are answered within, beside {name}", waits, " ms"),
                Figure("the same alone", base, " ms"),
                Figure(f"ratio, {name}", ratios(waits, base), target=target),
                Figure("requests of the flood that are accepted", accepted, "/s"),
                Figure("requests of the flood that are refused", [one.refused / one.seconds for one in seen], "/s"),
            ]
        proof = await prove("the payments", running, paying.answered + flooding.answered)
    conditions = (
        "One api process, its cache and its Postgres run, without limits of the rate. A bank sends payments on one "
        "connection, each as soon as the last one is answered. In turn it does so alone, and beside another bank that "
        f"floods the api on many connections. Each bank has a key of its own. {rounds} rounds of {seconds} s a side. "
        "The ratio beside a flood of single payments has no target."
    )
    return Findings(conditions, figures, [proof])


Flood = Callable[[int], Awaitable[Load]]


async def wait(client: Client, seconds: int) -> float:
    """The 99th percentile of the answer times of the bank's payments, in milliseconds. All payments must be
    accepted."""
    return 1000 * (await client.stroll(1, 0, seconds)).wait_seconds_p99


async def wait_beside(client: Client, seconds: int, flood: Flood, seen: list[Load]) -> float:
    """The same while another bank floods the api. The flood begins earlier, and is over at the end."""
    flooding = asyncio.ensure_future(flood(seconds + 2 * HEAD_START_SECONDS))
    await asyncio.sleep(HEAD_START_SECONDS)
    waited = await wait(client, seconds)
    seen.append(await flooding)
    return waited
