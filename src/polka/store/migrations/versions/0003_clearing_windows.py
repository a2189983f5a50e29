"""Clearing windows: each posted batch is in one window, and the totals of each window are stored."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "windows",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(collation="C"), server_default="open", nullable=False),
        sa.Column("opened_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("closed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("settled_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("flush", sa.BigInteger(), nullable=True),
        sa.Column("settlement", sa.Uuid(), nullable=True),
        sa.CheckConstraint("state IN ('open', 'closed', 'settled')", name=op.f("ck_windows_state")),
        sa.CheckConstraint(
            "(state = 'open') = (closed_at IS NULL) AND (state = 'open') = (flush IS NULL)",
            name=op.f("ck_windows_closed"),
        ),
        sa.CheckConstraint(
            "(state = 'settled') = (settled_at IS NOT NULL) AND (state = 'settled' OR settlement IS NULL)",
            name=op.f("ck_windows_settled"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_windows")),
    )
    op.create_index("ix_windows_open", "windows", ["state"], unique=True, postgresql_where=sa.text("state = 'open'"))
    op.create_table(
        "window_totals",
        sa.Column("window_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("bank", sa.Text(collation="C"), nullable=False),
        sa.Column("currency", sa.Text(collation="C"), nullable=False),
        sa.Column("debits", sa.Numeric(), nullable=False),
        sa.Column("credits", sa.Numeric(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("debits >= 0 AND debits = trunc(debits)", name=op.f("ck_window_totals_debits")),
        sa.CheckConstraint("credits >= 0 AND credits = trunc(credits)", name=op.f("ck_window_totals_credits")),
        sa.PrimaryKeyConstraint("window_id", "bank", "currency", name=op.f("pk_window_totals")),
    )
    op.add_column("batches", sa.Column("window_id", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_batches_windowless",
        "batches",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'posted' AND window_id IS NULL"),
    )
    op.execute("INSERT INTO windows (id) VALUES (1)")
