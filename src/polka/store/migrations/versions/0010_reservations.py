"""Reservations: a commit with a reservation holds the epoch of the reservation. Raising the epoch waits fairly for
these commits."""

from alembic import op

from polka.store import advisory_locks
from polka.store.database_errors import OUTDATED_EPOCH

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

HOLD = f"""
CREATE FUNCTION polka_hold_epoch(reserved_in bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE COST 1 AS $$
DECLARE
    current bigint;
BEGIN
    IF reserved_in IS NULL THEN
        RETURN true;
    END IF;
    PERFORM pg_advisory_xact_lock_shared({advisory_locks.EPOCH});
    SELECT number INTO current FROM epoch;
    IF current = reserved_in THEN
        RETURN true;
    END IF;
    RAISE EXCEPTION 'reserved in epoch %, it is %', reserved_in, current USING ERRCODE = '{OUTDATED_EPOCH}';
END $$
"""
"""Fails the calling statement unless this is the current epoch or null (no reservation). Keeps the epoch until the
transaction ends."""

RAISE = f"""
CREATE FUNCTION polka_raise_epoch() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    raised bigint;
BEGIN
    PERFORM pg_advisory_xact_lock({advisory_locks.EPOCH});
    UPDATE epoch SET number = number + 1, raised_at = clock_timestamp() RETURNING number INTO raised;
    RETURN raised;
END $$
"""
"""Waits for commits with a reservation by the lock, which queues fairly, and for a flush by the row."""


def upgrade() -> None:
    op.execute(HOLD)
    op.execute(RAISE)
