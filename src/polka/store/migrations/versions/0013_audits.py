"""The audit as a service: its runs, the progress of its passes, and indexes to find the rows of a flush."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def text() -> sa.Text:
    return sa.Text(collation="C")


def upgrade() -> None:
    op.create_index("ix_batches_flush", "batches", ["flush"], postgresql_where=sa.text("flush IS NOT NULL"))
    op.create_index("ix_transactions_batch", "transactions", ["batch"])
    op.create_index("ix_transaction_history_batch", "transaction_history", ["batch"])
    op.create_index("ix_transaction_history_reversal_batch", "transaction_history", ["reversal_batch"])
    op.create_table(
        "audit_runs",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("began_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ended_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("flush", sa.BigInteger(), nullable=False),
        sa.Column("payments_new", sa.BigInteger(), nullable=False),
        sa.Column("payments_again", sa.BigInteger(), nullable=False),
        sa.Column("faults", sa.Integer(), nullable=False),
        sa.Column("findings", postgresql.JSONB(), nullable=False),
        sa.Column("verified_from", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_runs")),
    )
    op.create_table(
        "audit_passes",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("flush", sa.BigInteger(), server_default="-1", nullable=False),
        sa.Column("first_window", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("is_present", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("began_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_passes")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_index("ix_audit_passes_is_present", "audit_passes", ["is_present"], unique=True)
    op.create_table(
        "audit_balances",
        sa.Column("pass_id", sa.BigInteger(), nullable=False),
        sa.Column("bank", text(), nullable=False),
        sa.Column("account", text(), nullable=False),
        sa.Column("currency", text(), nullable=False),
        sa.Column("amount", sa.Numeric(), nullable=False),
        sa.Column("weighed", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint("pass_id", "bank", "account", "currency", name=op.f("pk_audit_balances")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "audit_totals",
        sa.Column("pass_id", sa.BigInteger(), nullable=False),
        sa.Column("window_id", sa.BigInteger(), nullable=False),
        sa.Column("bank", text(), nullable=False),
        sa.Column("currency", text(), nullable=False),
        sa.Column("debits", sa.Numeric(), nullable=False),
        sa.Column("credits", sa.Numeric(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("fees", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint("pass_id", "window_id", "bank", "currency", name=op.f("pk_audit_totals")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "audit_interest",
        sa.Column("pass_id", sa.BigInteger(), nullable=False),
        sa.Column("bank", text(), nullable=False),
        sa.Column("currency", text(), nullable=False),
        sa.Column("debit", sa.Numeric(), nullable=False),
        sa.Column("credit", sa.Numeric(), nullable=False),
        sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("pass_id", "bank", "currency", name=op.f("pk_audit_interest")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "audit_slices",
        sa.Column("of", text(), nullable=False),
        sa.Column("after", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("of", name=op.f("pk_audit_slices")),
    )
