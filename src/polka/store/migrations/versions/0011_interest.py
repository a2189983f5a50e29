"""Interest: the accrued interest, and the interest booked in each window."""

import sqlalchemy as sa
from alembic import op

from polka.store import advisory_locks

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

SETTLED_POLICY = f"""
CREATE FUNCTION polka_settled_policy() RETURNS bigint LANGUAGE plpgsql VOLATILE COST 1 AS $$
BEGIN
    PERFORM pg_advisory_lock_shared({advisory_locks.POLICY});
    PERFORM pg_advisory_unlock_shared({advisory_locks.POLICY});
    RETURN (SELECT version FROM policy);
END $$
"""
"""The version of the policy after any change in progress. A later change takes its time after the start of the asking
transaction. Therefore no change that is in force by then is missed."""


def upgrade() -> None:
    op.create_table(
        "interest_accruals",
        sa.Column("bank", sa.Text(collation="C"), nullable=False),
        sa.Column("currency", sa.Text(collation="C"), nullable=False),
        sa.Column("debit_basis_points", sa.Integer(), nullable=False),
        sa.Column("credit_basis_points", sa.Integer(), nullable=False),
        sa.Column("accrued_until", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("debit", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("credit", sa.Numeric(), server_default="0", nullable=False),
        sa.CheckConstraint("debit >= 0 AND debit = trunc(debit)", name=op.f("ck_interest_accruals_debit")),
        sa.CheckConstraint("credit >= 0 AND credit = trunc(credit)", name=op.f("ck_interest_accruals_credit")),
        sa.CheckConstraint(
            "debit_basis_points >= 0 AND credit_basis_points >= 0", name=op.f("ck_interest_accruals_rates")
        ),
        sa.PrimaryKeyConstraint("bank", "currency", name=op.f("pk_interest_accruals")),
        postgresql_with={"fillfactor": 80},
    )
    op.add_column("flush", sa.Column("policy", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("window_totals", sa.Column("interest", sa.Numeric(), server_default="0", nullable=False))
    op.create_check_constraint(op.f("ck_window_totals_interest"), "window_totals", "interest = trunc(interest)")
    op.add_column("windows", sa.Column("interest_batch", sa.Uuid(), nullable=True))
    op.create_check_constraint(op.f("ck_windows_interest"), "windows", "state <> 'open' OR interest_batch IS NULL")
    op.execute(SETTLED_POLICY)
