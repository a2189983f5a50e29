"""Alembic's entry: runs the migrations on the connection that `polka.store.migrate` hands over."""

from alembic import context
from sqlalchemy import Connection, text

from polka.store.migrations import REVISION
from polka.store.tables import METADATA

LOCK = 0x706F6C6B61
"""Advisory lock: two processes that migrate at once would kill one of them."""

connection: Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA)
with context.begin_transaction():
    connection.execute(text("SET LOCAL lock_timeout = '60s'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    found = context.get_context().get_current_revision()
    if found is None or found < REVISION:  # Alembic does not know what a later Polka has done
        context.run_migrations()
