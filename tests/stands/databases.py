"""Databases of the tests, as copies of a migrated template."""

import asyncio
import itertools

import asyncpg

from polka.local import postgres
from polka.rules.keys import NewKey, Scope
from polka.store import api_keys, database, migrate, seed
from services import KEY

BANKS = 20
numbers = itertools.count(1)


def url_of(server: postgres.Server, database: str) -> str:
    return server.url.replace("/postgres?", f"/{database}?")


async def make_template(url: str) -> None:
    await execute(url, "CREATE DATABASE template_polka")
    template = url.replace("/postgres?", "/template_polka?")
    await migrate.migrate(template)
    await seed.seed(template, BANKS, 0)
    async with database.session(template) as connection:
        await api_keys.create(connection, KEY, NewKey("tests", scopes=tuple(Scope)))


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def new_database(server: postgres.Server, template: str = "template_polka") -> str:
    """A copy of a database. Copied file by file, it takes half of the time."""
    name = f"test_{next(numbers)}"
    asyncio.run(execute(server.url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"))
    return url_of(server, name)
