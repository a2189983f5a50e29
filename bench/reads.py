"""Reads of one account: its balance against a no-op `GET`, its last payments against the same SELECT by asyncpg."""

import asyncio
import time
from functools import partial

from api.routes.search import BY_ACCOUNT, FIRST, LAST, SESSION
from api.settings import Settings
from bench import noop
from bench.growth import grow
from bench.load import World, read_rate
from bench.report import Bound, Figure, Findings, Target
from bench.rounds import compare, ratios
from bench.stand import database_server, new_database, new_key, polka, prove
from polka.local.demo import free_port
from polka.local.up import Say
from polka.rules.money import AMOUNT_MAX
from polka.service import settings
from polka.store import database
from polka.store.database import Connection

TITLE = "Reads of one account against a no-op `GET` and a SELECT"
TARGET = Target(Bound.AT_LEAST, 0.4)
WORLD = World()
CONNECTIONS = 16
SEARCHES = settings.read(Settings, {"POLKA_DATABASE_URL": "postgres:///"}).search_pool_size
BANK, ACCOUNT = "bank1", "ACC1"
PAYMENTS = 50


async def measure(quick: bool, say: Say) -> Findings:
    rounds, seconds, stored = (2, 1, 50_000) if quick else (9, 4, 200_000)
    async with database_server() as server:
        url = await new_database(server, "reads")
        say(f"Storing {stored:,} payments …")
        await grow(url, WORLD, stored)
        async with polka(say, url) as running:
            key = await new_key(running)
            yardstick = noop.process(free_port(), running)
            await yardstick.start()
            try:
                read = partial(read_rate, key=key, connections=CONNECTIONS)
                address = running.layout.url
                say(f"{rounds} rounds of an account's balance …")
                balances, nothing = await compare(
                    *(rounds, seconds),
                    lambda span: read(f"{address}/banks/{BANK}/accounts?account={ACCOUNT}", seconds=span),
                    lambda span: read(f"{yardstick.address}/nothing", seconds=span),
                )
                say(f"{rounds} rounds of its last payments …")
                payments, selects = await compare(
                    *(rounds, seconds),
                    lambda span: read(
                        f"{address}/transactions?bank={BANK}&account={ACCOUNT}&limit={PAYMENTS}", seconds=span
                    ),
                    partial(select_rate, url),
                )
            finally:
                await yardstick.stop()
            proof = await prove("the database that was read", running, stored)
    figures = [
        Figure("balance of an account", balances, "/s"),
        Figure("no-op `GET`", nothing, "/s"),
        Figure("ratio, balance", ratios(balances, nothing), target=TARGET),
        Figure(f"last {PAYMENTS} payments of an account", payments, "/s"),
        Figure("the same SELECT", selects, "/s"),
        Figure("ratio, payments", ratios(payments, selects), target=TARGET),
    ]
    conditions = (
        f"One api process, its cache and its Postgres run; {stored:,} payments between {WORLD} are posted. "
        f"{CONNECTIONS} connections read the balance of one account, or its last {PAYMENTS} payments. The no-op `GET` "
        "is a Litestar handler that answers a small JSON, behind the same server and the same middleware. The same "
        f"SELECT is sent by asyncpg on {SEARCHES} connections, as many as the api has for searches, "
        f"and its rows are thrown away. {rounds} rounds of {seconds} s a side."
    )
    return Findings(conditions, figures, [proof])


async def select_rate(database_url: str, seconds: int) -> float:
    """The statements of a search, executed a second."""
    connections = [await database.reach(database_url) for _ in range(SEARCHES)]
    try:
        for connection in connections:
            for name, value in SESSION.items():
                await connection.execute(f"SET {name} = '{value}'")
        end = time.monotonic() + seconds
        counts = await asyncio.gather(*(selects_until(end, connection) for connection in connections))
        return sum(counts) / seconds
    finally:
        for connection in connections:
            await connection.close()


async def selects_until(end: float, connection: Connection) -> int:
    count = 0
    statement = await connection.prepare(BY_ACCOUNT)
    while time.monotonic() < end:
        await statement.fetch(
            *(LAST, FIRST, PAYMENTS, BANK, ACCOUNT, None, None, None, 1, AMOUNT_MAX, None, None, None)
        )
        count += 1
    return count
