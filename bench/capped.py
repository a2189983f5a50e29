"""Payments of banks with caps against payments of banks without: the cost of a reservation before each commit."""

from functools import partial

import httpx

from bench.load import Client, World
from bench.report import Bound, Figure, Findings, Target
from bench.rounds import compare, ratios
from bench.stand import new_key, polka, prove
from polka.local.up import Running, Say
from polka.rules.money import AMOUNT_MAX
from polka.store import seed
from polka.store.seed import bank_name

TITLE = "Payments of banks with net debit caps against those of banks without"
TARGET = Target(Bound.AT_LEAST, 0.8)
CONNECTIONS = (64, 256)
WORLD = World()


async def measure(quick: bool, say: Say) -> Findings:
    rounds, seconds = (2, 1) if quick else (7, 4)
    async with polka(say) as running:
        await seed.seed(running.database_url, WORLD.banks, WORLD.accounts)
        key = await new_key(running)
        client = Client(running.layout.url, WORLD, key)
        figures: list[Figure] = []
        for connections in CONNECTIONS:
            sides = [partial(rate, running, key, client, connections, cap) for cap in (AMOUNT_MAX, None)]
            say(f"{rounds} rounds with {connections} connections …")
            capped, free = await compare(rounds, seconds, *sides)
            figures += [
                Figure(f"with caps, {connections} connections", capped, "/s"),
                Figure(f"without, {connections} connections", free, "/s"),
                Figure(f"ratio, {connections} connections", ratios(capped, free), target=TARGET),
            ]
        proof = await prove("the payments", running, client.answered)
    conditions = (
        f"One api process, its cache and its Postgres run; payments between {WORLD}, each with an Idempotency-Key of "
        "its own and an API key. With caps each bank may owe 10¹⁵ USD cents at most: each payment is checked, and none "
        f"is refused. {rounds} rounds of {seconds} s a side."
    )
    return Findings(conditions, figures, [proof])


async def rate(running: Running, key: str, client: Client, connections: int, cap: int | None, seconds: int) -> float:
    """Payments a second if every bank has this cap, or no cap."""
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=running.layout.url, headers=headers, trust_env=False, timeout=30) as operator:
        for number in range(1, WORLD.banks + 1):
            response = await operator.patch(f"/banks/{bank_name(number)}", json={"caps": {"USD": cap}})
            response.raise_for_status()
    return await client.rate(connections, seconds)
