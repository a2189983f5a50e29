"""Generations of idempotency keys: old keys are removed with their whole table, no longer row by row."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from polka.store import advisory_locks
from polka.store.database_errors import OUTDATED_KEYS, STALE_POLICY

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

HOLD = f"""
CREATE FUNCTION polka_hold(decided_under bigint, keys_since timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE COST 1 AS $$
DECLARE
    current record;
BEGIN
    PERFORM pg_advisory_xact_lock_shared({advisory_locks.POLICY});
    SELECT version, began_at INTO current FROM policy, idempotency_generation;
    IF decided_under IS NOT NULL AND current.version IS DISTINCT FROM decided_under THEN
        RAISE EXCEPTION 'decided under version % of the policy, it is %', decided_under, current.version
            USING ERRCODE = '{STALE_POLICY}';
    END IF;
    IF current.began_at IS DISTINCT FROM keys_since THEN
        RAISE EXCEPTION 'keys go into the generation of %, it is that of %', keys_since, current.began_at
            USING ERRCODE = '{OUTDATED_KEYS}';
    END IF;
    RETURN true;
END $$
"""
"""Fails the calling statement unless version and generation are current. Keeps both until the transaction ends.

A statement without a policy passes null for the version.
"""

BEGIN = f"""
CREATE FUNCTION polka_begin_keys(kept interval) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET lock_timeout = '250ms' AS $$
DECLARE
    current record;
    is_free boolean;
BEGIN
    SELECT * INTO current FROM idempotency_generation FOR UPDATE NOWAIT;
    IF clock_timestamp() < current.began_at + kept THEN
        RETURN NULL;
    END IF;
    EXECUTE format('SELECT NOT EXISTS (SELECT FROM idempotency_keys_%s)', (current.number + 1) % 3) INTO is_free;
    IF NOT is_free THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock({advisory_locks.POLICY});
    UPDATE idempotency_generation SET number = number + 1, began_at = clock_timestamp();
    RETURN current.number + 1;
END $$
"""
"""Begins the next generation after the lifetime of the current one, if the next table is empty. Returns the number, or
null.

Waits for all commits in flight, because a commit in the next generation cannot see their uncommitted keys. Later
commits wait behind the function, so its time limit is short. The function changes no table with keys.
"""

DROP = """
CREATE FUNCTION polka_drop_keys() RETURNS bigint
LANGUAGE plpgsql VOLATILE SET lock_timeout = '250ms' AS $$
DECLARE
    current bigint;
    expired text;
    is_used boolean;
    dropped bigint := 0;
BEGIN
    SELECT number INTO current FROM idempotency_generation FOR UPDATE NOWAIT;
    IF current = 1 THEN
        RETURN 0;
    END IF;
    FOREACH expired IN ARRAY ARRAY['idempotency_keys', format('idempotency_keys_%s', (current + 1) % 3)] LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM ONLY %I)', expired) INTO is_used;
        IF is_used THEN
            dropped := dropped + greatest(1, pg_stat_get_live_tuples(expired::regclass), (
                SELECT reltuples FROM pg_class WHERE oid = expired::regclass
            ));
            EXECUTE format('TRUNCATE ONLY %I', expired);
        END IF;
    END LOOP;
    RETURN dropped;
END $$
"""
"""Empties the table of the generation before the previous generation. Returns the approximate number of dropped keys.

No commit reads or writes this table, so no commit waits. Lookups of answers wait as long as this function waits for a
reader. The row's lock delays the start of the next generation, which uses this table.
"""

REDIRECT = f"""
CREATE FUNCTION polka_redirect_key() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    place bigint;
    inserted bigint := 0;
BEGIN
    PERFORM pg_advisory_xact_lock_shared({advisory_locks.POLICY});
    IF NOT EXISTS (SELECT FROM idempotency_keys WHERE caller = NEW.caller AND key = NEW.key) THEN
        SELECT number % 3 INTO place FROM idempotency_generation;
        EXECUTE format('INSERT INTO idempotency_keys_%s SELECT ($1).* ON CONFLICT DO NOTHING', place) USING NEW;
        GET DIAGNOSTICS inserted = ROW_COUNT;
    END IF;
    IF inserted = 0 AND NEW.refusal IS NULL AND (NEW.items IS NULL OR EXISTS (
        SELECT FROM json_array_elements(NEW.items) item WHERE json_typeof(item) = 'string'
    )) THEN
        RAISE EXCEPTION 'the idempotency key is taken' USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NULL;
END $$
"""
"""Moves a key that an older Polka inserts into the parent table to the table of newer Polkas.

An older Polka inserts refusals with ON CONFLICT DO NOTHING, and a trigger cannot see this clause. A taken key therefore
fails the statement only for an answer with a transaction.
"""


def upgrade() -> None:
    op.create_table(
        "idempotency_generation",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("began_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_idempotency_generation_one_row")),
        sa.CheckConstraint("number >= 1", name=op.f("ck_idempotency_generation_number")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_idempotency_generation")),
    )
    for place in range(3):
        op.create_table(
            f"idempotency_keys_{place}",
            sa.Column("caller", sa.Text(collation="C"), nullable=False),
            sa.Column("key", sa.Text(collation="C"), nullable=False),
            sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
            sa.Column("transaction", sa.Uuid(), nullable=True),
            sa.Column("refusal", postgresql.JSON(none_as_null=True, astext_type=sa.Text()), nullable=True),
            sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
            sa.Column("version", sa.Integer(), server_default="1", nullable=False),
            sa.Column("items", postgresql.JSON(none_as_null=True, astext_type=sa.Text()), nullable=True),
            sa.PrimaryKeyConstraint("caller", "key", name=op.f(f"pk_idempotency_keys_{place}")),
            postgresql_inherits="idempotency_keys",
        )
    for function in (HOLD, BEGIN, DROP, REDIRECT):
        op.execute(function)
    # From here on no commit of an older Polka is in flight, and later commits wait for the end of this migration.
    op.execute(
        "CREATE TRIGGER redirect BEFORE INSERT ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION polka_redirect_key()"
    )
    op.execute("INSERT INTO idempotency_generation (id, number, began_at) VALUES (1, 1, clock_timestamp())")
