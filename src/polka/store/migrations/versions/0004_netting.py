"""Netting figures of closed windows, and the index that finds a window's batches."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "window_netting",
        sa.Column("window_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("currency", sa.Text(collation="C"), nullable=False),
        sa.Column("gross", sa.Numeric(), nullable=False),
        sa.Column("bilateral", sa.Numeric(), nullable=False),
        sa.Column("multilateral", sa.Numeric(), nullable=False),
        sa.CheckConstraint(
            "gross >= bilateral AND bilateral >= multilateral AND multilateral >= 0",
            name=op.f("ck_window_netting_order"),
        ),
        sa.PrimaryKeyConstraint("window_id", "currency", name=op.f("pk_window_netting")),
    )
    op.add_column("windows", sa.Column("is_netted", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index("ix_windows_unnetted", "windows", ["id"], unique=False, postgresql_where=sa.text("NOT is_netted"))
    op.create_index(
        "ix_batches_window_id",
        "batches",
        ["window_id"],
        unique=False,
        postgresql_where=sa.text("window_id IS NOT NULL"),
    )
