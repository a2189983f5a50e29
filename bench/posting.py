"""`POST /transaction` against the no-op handler: the cost of durability, double entries and exactly-once."""

from functools import partial

from bench import noop
from bench.load import Client, World
from bench.processors import Metered
from bench.report import Bound, Figure, Findings, Target
from bench.rounds import compare, ratios
from bench.stand import new_key, polka, prove
from polka.local.demo import free_port
from polka.local.up import Say
from polka.store import seed

TITLE = "Durable `POST /transaction` against a no-op handler"
TARGETS = {64: Target(Bound.AT_LEAST, 1.5), 256: Target(Bound.AT_LEAST, 1.9)}
"""By the number of connections."""
WORLD = World()


async def measure(quick: bool, say: Say) -> Findings:
    rounds, seconds = (1, 1) if quick else (7, 4)
    async with polka(say) as running:
        await seed.seed(running.database_url, WORLD.banks, WORLD.accounts)
        yardstick = noop.process(free_port(), running)
        await yardstick.start()
        try:
            key = await new_key(running)
            payments, nothing = (Client(url, WORLD, key) for url in (running.layout.url, yardstick.address))
            metered = Metered(payments, running)
            figures: list[Figure] = []
            for connections, target in TARGETS.items():
                sides = [partial(client.rate, connections) for client in (metered, nothing)]
                say(f"{rounds} rounds with {connections} connections …")
                rates, base = await compare(rounds, seconds, *sides)
                figures += [
                    Figure(f"`POST /transaction`, {connections} connections", rates, "/s"),
                    Figure(f"no-op, {connections} connections", base, "/s"),
                    Figure(f"ratio, {connections} connections", ratios(rates, base), target=target),
                    *metered.figures(f"{connections} connections"),
                ]
        finally:
            await yardstick.stop()
        proof = await prove("the payments", running, payments.answered)
    conditions = (
        f"One api process, its cache and its Postgres run; payments between {WORLD}, each with an Idempotency-Key "
        "of its own and an API key, are answered once they are durable. The no-op is a Litestar `@post` handler that "
        "reads the same JSON and answers 201 with a small one, behind the same server and the same middleware, which "
        f"checks keys, keeps limits and counts; it gets the same requests. {rounds} rounds of {seconds} s a side."
    )
    return Findings(conditions, figures, [proof])
