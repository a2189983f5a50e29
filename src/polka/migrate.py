"""Brings a database's schema up to date, with Alembic, under an advisory lock.

What that needs is imported when it is needed: it takes half of the time in which any command or service starts.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from polka import database, rate_sets
from polka.migrations import REVISION

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection


def config(connection: "Connection | None" = None) -> "Config":
    from alembic.config import Config

    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    settings.attributes["connection"] = connection
    return settings


async def migrate(url: str, allow_lossy: bool = False) -> str:
    """Upgrade to the newest revision, unless a later Polka has gone further; the revision that the schema has then.

    Exchange rates are there then, too: the recorded ones, where no newer ones are.

    Raises:
        NotYetFailure: the database does not answer.
        Failure: it could lose what it commits.
    """
    from alembic import command
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    connection = await database.reach(url)
    try:
        await database.check_durable(connection, allow_lossy)
    finally:
        await connection.close()
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: database.connect(url, "migrate"), poolclass=NullPool
    )
    async with engine.connect() as migrating:
        await migrating.run_sync(lambda sync: command.upgrade(config(sync), "head"))
        await migrating.commit()
    await engine.dispose()
    connection = await database.reach(url)
    try:
        revision = str(await database.revision_of(connection))
        if revision == REVISION:
            await rate_sets.store_recorded(connection)
        return revision
    finally:
        await connection.close()
