"""The time until a cache with many banks and accounts serves, and whether its first answers are right."""

import secrets
import time
from pathlib import Path

import httpx
import msgspec

from bench.growth import grow
from bench.load import World
from bench.report import Bound, Figure, Findings, Target
from bench.stand import database_server, new_database, prove
from polka.local.demo import free_layout
from polka.local.up import Held, Running, Say, services
from polka.rules.banks import Accounts
from polka.store import database

TITLE = "Start of the cache with 10,000 banks and 1M accounts"
TARGET = Target(Bound.AT_MOST, 2, " s")
ASKED = 20

EXPECTED = """
SELECT bank, account, (
    SELECT sum(CASE WHEN (sender_bank, sender_account) = (bank, account) THEN -amount ELSE amount END)
    FROM transactions
    WHERE (sender_bank, sender_account) = (bank, account) OR (receiver_bank, receiver_account) = (bank, account)
) AS balance
FROM (
    SELECT sender_bank AS bank, sender_account AS account FROM transactions
    GROUP BY sender_bank, sender_account ORDER BY random() LIMIT $1
) asked
"""
"""Balances of some accounts, from their transactions alone."""


async def measure(quick: bool, say: Say) -> Findings:
    rounds, world, payments = (2, World(100, 10_000), 5_000) if quick else (7, World(10_000, 1_000_000), 200_000)
    async with database_server() as server:
        url = await new_database(server, "polka")
        say(f"Opening {world.banks:,} banks and {world.accounts:,} accounts …")
        await grow(url, world, payments)
        expected = await expected_balances(url)
        layout = free_layout(1, Path(), url)
        with Held.bound(layout) as held:
            running = Running(layout, held, url, secrets.token_hex())
            cache = services(running)[0]
            starts: list[float] = []
            right: list[float] = []
            say(f"{rounds} starts …")
            for _ in range(rounds):
                began = time.perf_counter()
                await cache.start()
                starts.append(time.perf_counter() - began)
                try:
                    right.append(await count_right(running, expected))
                    if len(starts) == rounds:
                        proof = await prove("the database and the last cache", running)
                finally:
                    await cache.stop()
    figures = [
        Figure("from the start of its process until it is ready", starts, " s", TARGET),
        Figure(f"accounts answered right, of {ASKED}", right, target=Target(Bound.AT_LEAST, ASKED)),
    ]
    conditions = (
        f"A database with {world}, and with {payments:,} payments between them, posted. The cache's process is started "
        f"{rounds} times on it, and asked at once for {ASKED} random accounts, whose balances are known from their "
        "transactions. The database was filled just before, so that the kernel has it in memory."
    )
    return Findings(conditions, figures, [proof])


async def expected_balances(database_url: str) -> dict[tuple[str, str], int]:
    connection = await database.reach(database_url)
    try:
        rows = await connection.fetch(EXPECTED, ASKED)
    finally:
        await connection.close()
    return {(row["bank"], row["account"]): int(row["balance"]) for row in rows}


async def count_right(running: Running, expected: dict[tuple[str, str], int]) -> int:
    """The number of accounts with the expected balance in the cache's answer."""
    right = 0
    headers = {"Authorization": f"Bearer {running.cache_token}"}
    async with httpx.AsyncClient(base_url=running.cache_url, headers=headers, trust_env=False) as client:
        for (bank, account), balance in expected.items():
            response = await client.get(f"/balance/{bank}/accounts", params={"account": account})
            page = msgspec.json.decode(response.raise_for_status().content, type=Accounts)
            positions = [position for found in page.accounts for position in found.balances]
            right += [(position.posted, position.pending) for position in positions] == [(balance, 0)]
    return right
