"""The policy: the terms of banks by version, and a check that commits are decided under the current version."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from polka.store import advisory_locks
from polka.store.database_errors import STALE_POLICY

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

HOLD = f"""
CREATE FUNCTION polka_hold_policy(decided_under bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE COST 1 AS $$
DECLARE
    current bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared({advisory_locks.POLICY});
    SELECT version INTO current FROM policy;
    IF current = decided_under THEN
        RETURN true;
    END IF;
    RAISE EXCEPTION 'decided under version % of the policy, it is %', decided_under, current
        USING ERRCODE = '{STALE_POLICY}';
END $$
"""
"""Fails the calling statement unless this is the current version of the policy. Keeps the version until the transaction
ends.

Each statement in a volatile function has a new snapshot. The snapshot of the calling statement may be older than the
lock.
"""

CHANGE = f"""
CREATE FUNCTION polka_change_terms(
    of_bank text, seen bigint, caps jsonb, suspended text, fees jsonb, interest jsonb, by text
) RETURNS bigint LANGUAGE plpgsql VOLATILE SET lock_timeout = '1s' AS $$
DECLARE
    made bigint;
BEGIN
    PERFORM pg_advisory_xact_lock({advisory_locks.POLICY});
    IF seen <> (SELECT coalesce(max(version), 0) FROM bank_terms WHERE bank = of_bank) THEN
        RETURN NULL;
    END IF;
    UPDATE policy SET version = version + 1, changed_at = clock_timestamp() RETURNING version INTO made;
    INSERT INTO bank_terms (bank, version, caps, suspended, fees, interest, in_force_from, changed_by)
    VALUES (of_bank, made, caps, suspended, fees, interest, clock_timestamp(), by);
    RETURN made;
END $$
"""
"""One statement, because a client that dies between two statements would keep the lock for longer."""


def upgrade() -> None:
    op.create_table(
        "policy",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_policy_one_row")),
        sa.CheckConstraint("version >= 0", name=op.f("ck_policy_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policy")),
    )
    op.create_table(
        "bank_terms",
        sa.Column("bank", sa.Text(collation="C"), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("caps", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("suspended", sa.Text(collation="C"), nullable=False),
        sa.Column("fees", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("interest", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("in_force_from", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("changed_by", sa.Text(collation="C"), nullable=False),
        sa.CheckConstraint("suspended IN ('no', 'sending', 'both')", name=op.f("ck_bank_terms_suspended")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_bank_terms_version")),
        sa.PrimaryKeyConstraint("bank", "version", name=op.f("pk_bank_terms")),
    )
    op.create_index("ix_bank_terms_version", "bank_terms", ["version"], unique=True)
    op.execute("INSERT INTO policy (id, version) VALUES (1, 0)")
    op.execute(HOLD)
    op.execute(CHANGE)
