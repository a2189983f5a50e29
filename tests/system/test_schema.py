"""The tables in `polka.store.tables` and the migrations make the same database, down to its checks and its storage."""

import asyncio
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from databases import execute
from polka.store import database
from polka.store.migrate import migrate
from polka.store.migrations import REVISION
from polka.store.tables import METADATA

RELATIONS = "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'"
TABLES = f"{RELATIONS} AND relkind = 'r'"

CATALOG = {
    "tables": f"SELECT relname, relpersistence::text, reloptions FROM {TABLES} ORDER BY 1",
    "columns": f"""
        SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, collname, attidentity::text,
               pg_get_expr(adbin, adrelid) AS default
        FROM {TABLES} JOIN pg_attribute a ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
        LEFT JOIN pg_attrdef ON adrelid = c.oid AND adnum = attnum LEFT JOIN pg_collation l ON l.oid = attcollation
        ORDER BY 1, 2
    """,
    "constraints": f"""
        SELECT relname, conname, pg_get_constraintdef(k.oid), convalidated
        FROM {RELATIONS} JOIN pg_constraint k ON conrelid = c.oid ORDER BY 1, 2
    """,
    "indexes": f"""
        SELECT relname, pg_get_indexdef(c.oid), indisvalid
        FROM {RELATIONS} JOIN pg_index ON indexrelid = c.oid ORDER BY 1
    """,
}


async def describe(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that Postgres knows of the tables' shape."""
    connection = await asyncpg.connect(url)
    try:
        found = {name: [tuple(row) for row in await connection.fetch(query)] for name, query in CATALOG.items()}
    finally:
        await connection.close()
    return {name: [row for row in rows if not row[0].startswith("alembic_version")] for name, rows in found.items()}


async def on(url: str, work: Any) -> Any:
    """What the work, a function of SQLAlchemy's connection, gives."""
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: database.connect(url, "test"), poolclass=NullPool
    )
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    found: list[Any] = compare_metadata(context, METADATA)
    return found


def test_a_new_migration_would_be_empty(database_url: str) -> None:
    assert asyncio.run(on(database_url, differences)) == []


def test_the_tables_and_the_migrations_make_the_same_database(database_url: str, empty_database_url: str) -> None:
    asyncio.run(on(empty_database_url, METADATA.create_all))
    assert asyncio.run(describe(database_url)) == asyncio.run(describe(empty_database_url))


def test_the_newest_migration_is_the_one_that_polka_asks_for(empty_database_url: str) -> None:
    assert asyncio.run(migrate(empty_database_url)) == REVISION


DRIFTS = {
    "a column": "ALTER TABLE banks ADD COLUMN country text",
    "a type": "ALTER TABLE batches ALTER COLUMN size TYPE bigint",
    "a null": "ALTER TABLE transactions ALTER COLUMN amount DROP NOT NULL",
    "a default": "ALTER TABLE batches ALTER COLUMN state SET DEFAULT 'posted'",
    "a collation": 'ALTER TABLE banks ALTER COLUMN name TYPE text COLLATE "default"',
    "a check": "ALTER TABLE transactions DROP CONSTRAINT ck_transactions_amount",
    "a weaker check": "ALTER TABLE transactions DROP CONSTRAINT ck_transactions_amount, "
    "ADD CONSTRAINT ck_transactions_amount CHECK (amount >= 0)",
    "a key": "ALTER TABLE idempotency_keys DROP CONSTRAINT pk_idempotency_keys",
    "an index": "DROP INDEX ix_batches_unposted",
    "an index's condition": "DROP INDEX ix_batches_aside; CREATE INDEX ix_batches_aside ON batches (id)",
    "storage": "ALTER TABLE accounts RESET (fillfactor)",
    "a table": "DROP TABLE flush",
}


@pytest.mark.parametrize("statement", DRIFTS.values(), ids=DRIFTS.keys())
def test_every_kind_of_drift_shows(database_url: str, statement: str) -> None:
    """Otherwise the tests above would prove nothing."""

    async def drift() -> bool:
        before = await describe(database_url)
        await execute(database_url, statement)
        return before != await describe(database_url)

    assert asyncio.run(drift())
