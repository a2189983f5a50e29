"""Exchange rates: a set for each version of each day."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rate_sets",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("source", sa.Text(collation="C"), nullable=False),
        sa.Column("stored_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("source IN ('recorded', 'fetched')", name=op.f("ck_rate_sets_source")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_rate_sets_version")),
        sa.PrimaryKeyConstraint("date", "version", name=op.f("pk_rate_sets")),
    )
    op.create_table(
        "rates",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("currency", sa.Text(collation="C"), nullable=False),
        sa.Column("rate", sa.Numeric(), nullable=False),
        sa.CheckConstraint("length(currency) = 3", name=op.f("ck_rates_currency")),
        sa.CheckConstraint("rate > 0", name=op.f("ck_rates_rate")),
        sa.PrimaryKeyConstraint("date", "version", "currency", name=op.f("pk_rates")),
    )
