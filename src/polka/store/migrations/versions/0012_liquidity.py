"""The history of Polka's liquidity."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "liquidity_history",
        sa.Column("resolution", sa.Text(collation="C"), nullable=False),
        sa.Column("currency", sa.Text(collation="C"), nullable=False),
        sa.Column("start", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("owes", sa.Numeric(), nullable=False),
        sa.Column("owed", sa.Numeric(), nullable=False),
        sa.Column("held", sa.Numeric(), nullable=False),
        sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("flush", sa.BigInteger(), nullable=False),
        sa.Column("highest", sa.Numeric(), nullable=False),
        sa.Column("highest_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("highest_flush", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "resolution IN ('flush', 'minute', 'hour', 'day')", name=op.f("ck_liquidity_history_resolution")
        ),
        sa.CheckConstraint("owes >= 0 AND owed >= 0 AND highest >= owed", name=op.f("ck_liquidity_history_figures")),
        sa.CheckConstraint(
            "highest_at BETWEEN start AND at AND highest_flush <= flush", name=op.f("ck_liquidity_history_highest_at")
        ),
        sa.PrimaryKeyConstraint("resolution", "currency", "start", name=op.f("pk_liquidity_history")),
        postgresql_with={"fillfactor": 80, "autovacuum_vacuum_scale_factor": 0.05},
    )
