"""Payments across currencies: the marks for amounts that were rounded down."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("transactions", sa.Column("rounded_down", sa.Boolean(), nullable=True))
