"""Payments across currencies: the receiver's amount, and its rates."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

CONVERTED = """
num_nonnulls(receiver_amount, receiver_currency, rate, rate_date, rate_version) IN (0, 5)
AND receiver_amount BETWEEN 1 AND 1000000000000000 AND rate > 0
"""
VERSIONS = """
CREATE OR REPLACE VIEW transaction_versions AS
SELECT id, version, batch, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency, reference,
       status, created_at, changed_at, reversal_batch, replaced_at, replaced_by, reason,
       receiver_amount, receiver_currency, rate, rate_date, rate_version
FROM transaction_history
UNION ALL
SELECT id, version, batch, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency, reference,
       status, created_at, changed_at, NULL, NULL, NULL, NULL,
       receiver_amount, receiver_currency, rate, rate_date, rate_version
FROM transactions
"""


def upgrade() -> None:
    for table in ("transactions", "transaction_history"):
        op.add_column(table, sa.Column("receiver_amount", sa.BigInteger(), nullable=True))
        op.add_column(table, sa.Column("receiver_currency", sa.Text(collation="C"), nullable=True))
        op.add_column(table, sa.Column("rate", sa.Numeric(), nullable=True))
        op.add_column(table, sa.Column("rate_date", sa.Date(), nullable=True))
        op.add_column(table, sa.Column("rate_version", sa.Integer(), nullable=True))
    op.add_column("transactions", sa.Column("booked_version", sa.Integer(), nullable=True))
    op.create_check_constraint(op.f("ck_transactions_converted"), "transactions", CONVERTED)
    op.create_check_constraint(
        op.f("ck_transactions_booked"),
        "transactions",
        "receiver_amount IS NULL OR booked_version IS NOT DISTINCT FROM version",
    )
    op.execute(VERSIONS)
