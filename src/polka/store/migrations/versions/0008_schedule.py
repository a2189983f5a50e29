"""The schedule of clearing: its start, and the scheduled time of each window that the schedule closed."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "clearing_schedule",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("expression", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("since", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_clearing_schedule_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clearing_schedule")),
    )
    op.execute("INSERT INTO clearing_schedule (id) VALUES (1)")
    op.add_column("windows", sa.Column("scheduled_for", sa.TIMESTAMP(timezone=True), nullable=True))
    op.create_check_constraint(op.f("ck_windows_scheduled"), "windows", "state <> 'open' OR scheduled_for IS NULL")
    op.create_index(
        "ix_windows_scheduled_for",
        "windows",
        ["scheduled_for"],
        unique=True,
        postgresql_where=sa.text("scheduled_for IS NOT NULL"),
    )
    op.create_index(
        "ix_windows_unsettled",
        "windows",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'closed' AND scheduled_for IS NOT NULL"),
    )
