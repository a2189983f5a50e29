"""Brings a database's schema up to date, with Alembic, under an advisory lock.

Alembic is imported on demand, because the import would take half of the start of any command or service.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from polka.store import barrier, database, rate_sets
from polka.store.migrations import REVISION

REVISION_FOUND = barrier.after("SELECT version_num FROM alembic_version")
"""With a barrier, because the warnings of Alembic's own commits are lost."""

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
    """Upgrade to the newest revision, unless a later Polka has upgraded further. Returns the resulting revision.

    The migration also stores the recorded exchange rates, unless newer rates are stored.

    Raises:
        NotYetFailure: the database is unavailable.
        Failure: the database could lose commits.
    """
    from alembic import command
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    async with database.session(url) as connection:
        await database.check_durable(connection, allow_lossy)
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: database.connect(url, "migrate"), poolclass=NullPool
    )
    async with engine.connect() as migrating:
        await migrating.run_sync(lambda sync: command.upgrade(config(sync), "head"))
        await migrating.commit()
    await engine.dispose()
    async with database.session(url) as connection:
        revision = str(await connection.fetchval(REVISION_FOUND))
        if revision == REVISION:
            await rate_sets.store_recorded(connection)
    return revision
