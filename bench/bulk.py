"""`POST /transactions` against COPY: the api's cost beyond the fastest way to get rows into the table."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from random import Random

import httpx
import msgspec
from uuid_utils import uuid7

from bench.load import World
from bench.report import Bound, Figure, Findings, Target
from bench.rounds import alternate, ratios
from bench.stand import database_server, new_database, new_key, polka, prove
from polka.local.up import Say
from polka.rules.transactions import Party, Payment
from polka.service.failure import Failure
from polka.store import database, seed
from polka.store.database import Connection

TITLE = "`POST /transactions`, 1,000 payments each, against COPY"
TARGET = Target(Bound.AT_LEAST, 0.4)
WORLD = World()
CLIENTS = 4
PAYMENTS = 1_000
BODIES = 16
COLUMNS = (
    *("id", "batch", "sender_bank", "sender_account", "receiver_bank", "receiver_account"),
    *("amount", "currency"),
)


async def measure(quick: bool, say: Say) -> Findings:
    rounds, requests = (2, 5) if quick else (7, 40)
    async with database_server() as server:
        url, raw_url = [await new_database(server, name) for name in ("polka", "raw")]
        await seed.seed(url, WORLD.banks, WORLD.accounts)
        async with polka(say, url) as running, database.session(raw_url) as raw:
            client = BulkClient(running.layout.url, [await new_key(running) for _ in range(CLIENTS)])

            async def rate_of_bulks() -> float:
                return await client.rate(requests)

            async def rate_of_copies() -> float:
                return await copy_rate(raw, requests * CLIENTS)

            await client.rate(3)  # warms up
            say(f"{rounds} rounds …")
            rates, base = await alternate(rounds, rate_of_bulks, rate_of_copies)
            proof = await prove("the payments", running, client.answered)
    figures = [
        Figure("payments by `POST /transactions`", rates, "/s"),
        Figure("rows by COPY", base, "/s"),
        Figure("ratio", ratios(rates, base), target=TARGET),
    ]
    conditions = (
        f"{CLIENTS} clients, each with an API key of its own, send {PAYMENTS:,} payments a request, as JSON with an "
        f"Idempotency-Key, to one api process, and are answered once all are durable; payments are between {WORLD}. "
        f"COPY is one connection that adds {PAYMENTS:,} rows a time to `transactions` of another database of the same "
        "Postgres, with the same checks and indexes, and commits them; the time to encode them is not counted. "
        f"{rounds} rounds of {requests * CLIENTS * PAYMENTS:,} payments a side, so that both tables grow alike."
    )
    return Findings(conditions, figures, [proof])


class BulkClient:
    """Sends requests of many payments to one address, a connection for each key, and counts the answered payments.

    Bodies are made in advance, and sent again and again under new Idempotency-Keys.
    """

    def __init__(self, url: str, keys: list[str]) -> None:
        self.answered = 0
        self._keys = keys
        self._url = f"{url}/transactions"
        random = Random(0)
        bodies = [msgspec.json.encode([payment(random) for _ in range(PAYMENTS)]) for _ in range(BODIES)]
        self._bodies = itertools.cycle(bodies)

    async def rate(self, requests: int) -> float:
        """Send `requests` requests from each client, one after the other. Returns the answered payments a second.

        Raises:
            Failure: a request was refused.
        """
        began = time.perf_counter()
        await asyncio.gather(*(self._send(key, requests) for key in self._keys))
        return requests * len(self._keys) * PAYMENTS / (time.perf_counter() - began)

    async def _send(self, key: str, requests: int) -> None:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as client:
            for _ in range(requests):
                headers = {"Idempotency-Key": str(uuid7())}
                response = await client.post(self._url, content=next(self._bodies), headers=headers)
                if response.status_code != 201:
                    raise Failure(f"A bulk request was answered {response.status_code}: {response.text[:200]}")
                self.answered += PAYMENTS


async def copy_rate(connection: Connection, copies: int) -> float:
    """Rows a second."""
    random = Random(0)
    seconds = 0.0
    for _ in range(copies):
        rows = encoded(random)
        began = time.perf_counter()
        await connection.copy_to_table("transactions", source=chunk(rows), columns=COLUMNS)
        seconds += time.perf_counter() - began
    return copies * PAYMENTS / seconds


def encoded(random: Random) -> bytes:
    """Rows of the payments of a batch, in COPY's text format."""
    batch = uuid7()
    rows: list[str] = []
    for _ in range(PAYMENTS):
        made = payment(random)
        parties = (made.sender.bank, made.sender.account, made.receiver.bank, made.receiver.account)
        rows.append("\t".join([str(uuid7()), str(batch), *parties, str(made.amount), made.currency]) + "\n")
    return "".join(rows).encode()


async def chunk(rows: bytes) -> AsyncIterator[bytes]:
    yield rows


def payment(random: Random) -> Payment:
    sender, receiver = random.sample(range(1, WORLD.banks + 1), 2)
    return Payment(party(random, sender), party(random, receiver), random.randint(1, 1_000_000), "USD")


def party(random: Random, bank: int) -> Party:
    return Party(seed.bank_name(bank), seed.account_id(random.randint(1, WORLD.accounts // WORLD.banks)))
