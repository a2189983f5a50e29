"""Versions of transactions and their history, api keys, answers of bulk requests, and indexes to search by."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MUST = """
CREATE FUNCTION polka_must(holds boolean, fact text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF holds THEN
        RETURN true;
    END IF;
    RAISE EXCEPTION '%', fact USING ERRCODE = 'serialization_failure';
END $$
"""
"""Fails the calling statement unless the condition holds. The sender then reads again, and decides again."""

VERSIONS = """
CREATE VIEW transaction_versions AS
SELECT id, version, batch, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency, reference,
       status, created_at, changed_at, reversal_batch, replaced_at, replaced_by, reason
FROM transaction_history
UNION ALL
SELECT id, version, batch, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency, reference,
       status, created_at, changed_at, NULL, NULL, NULL, NULL
FROM transactions
"""
"""Every version of every transaction."""


def upgrade() -> None:
    op.add_column("transactions", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column("transactions", sa.Column("changed_at", sa.TIMESTAMP(timezone=True), nullable=True))
    op.drop_constraint(op.f("ck_transactions_status"), "transactions")
    op.create_check_constraint(op.f("ck_transactions_status"), "transactions", "status IN ('accepted', 'deleted')")
    op.create_check_constraint(op.f("ck_transactions_changed"), "transactions", "(version = 1) = (changed_at IS NULL)")
    for column in ("sender_bank", "receiver_bank", "sender_account", "receiver_account"):
        op.create_index(f"ix_transactions_{column}_id", "transactions", [column, "id"])
    op.create_index(
        "ix_transactions_reference_id",
        "transactions",
        ["reference", "id"],
        postgresql_where=sa.text("reference IS NOT NULL"),
    )
    op.create_table(
        "transaction_history",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("batch", sa.Uuid(), nullable=False),
        sa.Column("sender_bank", sa.Text(collation="C"), nullable=False),
        sa.Column("sender_account", sa.Text(collation="C"), nullable=False),
        sa.Column("receiver_bank", sa.Text(collation="C"), nullable=False),
        sa.Column("receiver_account", sa.Text(collation="C"), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(collation="C"), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(collation="C"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("changed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("reversal_batch", sa.Uuid(), nullable=False),
        sa.Column("replaced_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("replaced_by", sa.Text(collation="C"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint("version >= 1", name=op.f("ck_transaction_history_version")),
        sa.PrimaryKeyConstraint("id", "version", name=op.f("pk_transaction_history")),
    )
    op.add_column("idempotency_keys", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column(
        "idempotency_keys",
        sa.Column("items", postgresql.JSON(none_as_null=True, astext_type=sa.Text()), nullable=True),
    )
    op.drop_constraint(op.f("ck_idempotency_keys_one_answer"), "idempotency_keys")
    op.create_check_constraint(
        op.f("ck_idempotency_keys_one_answer"),
        "idempotency_keys",
        "num_nonnulls(transaction, refusal, items) = 1",
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("bank", sa.Text(collation="C"), nullable=True),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revoked_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("length(hash) = 32", name=op.f("ck_api_keys_hash")),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 64", name=op.f("ck_api_keys_name")),
        sa.CheckConstraint("cardinality(scopes) > 0", name=op.f("ck_api_keys_scopes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_index("ix_api_keys_hash", "api_keys", ["hash"], unique=True)
    op.execute(MUST)
    op.execute(VERSIONS)
