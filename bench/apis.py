"""The processor time of a payment with two apis against one. On a machine of few cores, two apis cannot be faster."""

from contextlib import AsyncExitStack
from functools import partial

from bench.load import Client, World
from bench.processors import Metered
from bench.report import Bound, Figure, Findings, Target
from bench.rounds import compare, ratios
from bench.stand import new_key, polka, prove
from polka.local.up import Say
from polka.store import seed

TITLE = "Processor time of a payment with two apis against one"
TARGETS = {64: Target(Bound.AT_MOST, 1.3), 256: Target(Bound.AT_MOST, 1.1)}
"""By the number of connections."""
WORLD = World()


async def measure(quick: bool, say: Say) -> Findings:
    rounds, seconds = (1, 1) if quick else (9, 4)
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(polka(say, apis=apis)) for apis in (1, 2)]
        clients = []
        for each in running:
            await seed.seed(each.database_url, WORLD.banks, WORLD.accounts)
            clients.append(Client(each.layout.url, WORLD, await new_key(each)))
        one, two = (Metered(client, each) for client, each in zip(clients, running, strict=True))
        figures: list[Figure] = []
        for connections, target in TARGETS.items():
            say(f"{rounds} rounds with {connections} connections …")
            of_two, of_one = await compare(
                rounds, seconds, partial(two.cost, connections), partial(one.cost, connections)
            )
            figures += [
                Figure(f"processor time of a payment, two apis, {connections} connections", of_two, " µs"),
                Figure(f"processor time of a payment, one api, {connections} connections", of_one, " µs"),
                Figure(f"ratio, {connections} connections", ratios(of_two, of_one), target=target),
                *two.figures(f"two apis, {connections} connections"),
                *one.figures(f"one api, {connections} connections"),
            ]
        proofs = [
            await prove(f"the payments of {name}", each, client.answered)
            for name, each, client in zip(("one api", "two apis"), running, clients, strict=True)
        ]
    conditions = (
        "Two Polkas run all the time, each with its cache and its Postgres. One has two apis on one port, the other "
        f"has one. Payments between {WORLD}, each with an Idempotency-Key of its own. The processor time is that of "
        f"api, cache and Postgres, with the background audit. {rounds} rounds of {seconds} s a side."
    )
    return Findings(conditions, figures, proofs)
