"""Fees: the fee of each payment, the policy behind the fee, and the fees of banks in each window."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

BOOKED = """
receiver_amount IS NULL AND coalesce(fee, 0) = 0 OR booked_version IS NOT DISTINCT FROM version
"""
VERSIONS = """
CREATE OR REPLACE VIEW transaction_versions AS
SELECT id, version, batch, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency, reference,
       status, created_at, changed_at, reversal_batch, replaced_at, replaced_by, reason,
       receiver_amount, receiver_currency, rate, rate_date, rate_version, fee
FROM transaction_history
UNION ALL
SELECT id, version, batch, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency, reference,
       status, created_at, changed_at, NULL, NULL, NULL, NULL,
       receiver_amount, receiver_currency, rate, rate_date, rate_version, fee
FROM transactions
"""


def upgrade() -> None:
    for table in ("transactions", "transaction_history"):
        op.add_column(table, sa.Column("fee", sa.BigInteger(), nullable=True))
    op.create_check_constraint(op.f("ck_transactions_fee"), "transactions", "fee >= 0")
    op.drop_constraint(op.f("ck_transactions_booked"), "transactions")
    op.create_check_constraint(op.f("ck_transactions_booked"), "transactions", BOOKED)
    op.execute(VERSIONS)
    op.add_column("batches", sa.Column("policy", sa.BigInteger(), nullable=True))
    op.add_column("window_totals", sa.Column("fees", sa.Numeric(), server_default="0", nullable=False))
