"""The core: banks, balances, accounts, transactions, idempotency keys, batches, epoch and flush."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("bank", sa.Text(collation="C"), nullable=False),
        sa.Column("account", sa.Text(collation="C"), nullable=False),
        sa.Column("currency", sa.Text(collation="C"), nullable=False),
        sa.Column("balance", sa.Numeric(), nullable=False),
        sa.Column("opened_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("balance = trunc(balance)", name=op.f("ck_accounts_whole")),
        sa.PrimaryKeyConstraint("bank", "account", "currency", name=op.f("pk_accounts")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "balances",
        sa.Column("bank", sa.Text(collation="C"), nullable=False),
        sa.Column("currency", sa.Text(collation="C"), nullable=False),
        sa.Column("balance", sa.Numeric(), nullable=False),
        sa.CheckConstraint("balance = trunc(balance)", name=op.f("ck_balances_whole")),
        sa.PrimaryKeyConstraint("bank", "currency", name=op.f("pk_balances")),
    )
    op.create_table(
        "banks",
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 64 AND name <> 'polka'", name=op.f("ck_banks_name")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_banks")),
    )
    op.create_table(
        "batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(collation="C"), server_default="unposted", nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("payload", postgresql.JSON(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("flush", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("posted_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'posted') = (flush IS NOT NULL AND posted_at IS NOT NULL)",
            name=op.f("ck_batches_posted"),
        ),
        sa.CheckConstraint("(state = 'void') = (size = 0)", name=op.f("ck_batches_size")),
        sa.CheckConstraint("state IN ('unposted', 'posted', 'void', 'aside')", name=op.f("ck_batches_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
        postgresql_with={"fillfactor": 80, "autovacuum_vacuum_scale_factor": 0.05},
    )
    op.create_index("ix_batches_aside", "batches", ["id"], unique=False, postgresql_where=sa.text("state = 'aside'"))
    op.create_index(
        "ix_batches_unposted", "batches", ["id"], unique=False, postgresql_where=sa.text("state = 'unposted'")
    )
    op.create_table(
        "epoch",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("raised_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_epoch_one_row")),
        sa.CheckConstraint("number >= 0", name=op.f("ck_epoch_number")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_epoch")),
    )
    op.create_table(
        "flush",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("flushed_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_flush_one_row")),
        sa.CheckConstraint("number >= 0", name=op.f("ck_flush_number")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_flush")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.Text(collation="C"), nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("transaction", sa.Uuid(), nullable=True),
        sa.Column("refusal", postgresql.JSON(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(transaction IS NULL) <> (refusal IS NULL)", name=op.f("ck_idempotency_keys_one_answer")),
        sa.PrimaryKeyConstraint("caller", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "transactions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("batch", sa.Uuid(), nullable=False),
        sa.Column("sender_bank", sa.Text(collation="C"), nullable=False),
        sa.Column("sender_account", sa.Text(collation="C"), nullable=False),
        sa.Column("receiver_bank", sa.Text(collation="C"), nullable=False),
        sa.Column("receiver_account", sa.Text(collation="C"), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(collation="C"), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(collation="C"), server_default="accepted", nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status = 'accepted'", name=op.f("ck_transactions_status")),
        sa.CheckConstraint("amount BETWEEN 1 AND 1000000000000000", name=op.f("ck_transactions_amount")),
        sa.CheckConstraint("length(currency) = 3", name=op.f("ck_transactions_currency")),
        sa.CheckConstraint(
            "sender_bank <> receiver_bank OR sender_account <> receiver_account",
            name=op.f("ck_transactions_parties"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transactions")),
    )
    op.execute("INSERT INTO epoch (id, number) VALUES (1, 0)")
    op.execute("INSERT INTO flush (id, number) VALUES (1, 0)")
