"""Alembic's entry: runs the migrations on the connection that `polka.store.migrate` hands over."""

from alembic import context
from sqlalchemy import Connection, text

from polka.store import advisory_locks
from polka.store.migrations import REVISION
from polka.store.tables import METADATA

connection: Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA)
with context.begin_transaction():
    connection.execute(text("SET LOCAL lock_timeout = '60s'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": advisory_locks.MIGRATION})
    found = context.get_context().get_current_revision()
    if found is None or found < REVISION:  # Alembic does not know the revisions of a later Polka
        context.run_migrations()
