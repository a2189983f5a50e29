"""The database's shape. Check constraints say what must hold; the audit proves what foreign keys would."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB
from sqlmodel import Field, SQLModel

from polka.rules.money import AMOUNT_MAX

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "pk": "pk_%(table_name)s",
}
Day = date  # where a column has the name of its type
METADATA = SQLModel.metadata
METADATA.naming_convention = NAMING


def name(**options: Any) -> Column[str]:
    """Text that is compared byte by byte: the same order in every database, and in Python."""
    return Column(Text(collation="C"), nullable=False, **options)


def now() -> Column[datetime]:
    return Column(TIMESTAMP(timezone=True), nullable=False, server_default=text("now()"))


def first_version() -> Column[int]:
    return Column(Integer, nullable=False, server_default="1")


def balance() -> Column[Decimal]:
    return Column(Numeric, nullable=False)


class Epoch(SQLModel, table=True):
    """One row: the number of the cache that may write. Whoever changes balances holds it FOR SHARE."""

    __tablename__ = "epoch"
    __table_args__ = (
        CheckConstraint("id = 1", name="one_row"),
        CheckConstraint("number >= 0", name="number"),
    )

    id: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    number: int = Field(sa_column=Column(BigInteger, nullable=False))
    raised_at: datetime = Field(sa_column=now())


class Flush(SQLModel, table=True):
    """One row: the number of the latest flush that posted something, across all epochs.

    `policy` is the version of the policy by whose rates interest accrues.
    """

    __tablename__ = "flush"
    __table_args__ = (
        CheckConstraint("id = 1", name="one_row"),
        CheckConstraint("number >= 0", name="number"),
    )

    id: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    number: int = Field(sa_column=Column(BigInteger, nullable=False))
    flushed_at: datetime = Field(sa_column=now())
    policy: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))


class Bank(SQLModel, table=True):
    __tablename__ = "banks"
    __table_args__ = (CheckConstraint("length(name) BETWEEN 1 AND 64 AND name <> 'polka'", name="name"),)

    name: str = Field(sa_column=name(primary_key=True))
    created_at: datetime = Field(sa_column=now())


class Policy(SQLModel, table=True):
    """One row: the version of the policy in force, which each commit has been decided under."""

    __tablename__ = "policy"
    __table_args__ = (
        CheckConstraint("id = 1", name="one_row"),
        CheckConstraint("version >= 0", name="version"),
    )

    id: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    changed_at: datetime = Field(sa_column=now())


class BankTerms(SQLModel, table=True):
    """A bank's terms from this version of the policy on, until its next ones: see `polka.rules.policy`. Kept for ever.

    `in_force_from` is the database's time of the change, in the order of the versions. Every version is of one bank.
    """

    __tablename__ = "bank_terms"
    __table_args__ = (
        CheckConstraint("version >= 1", name="version"),
        CheckConstraint("suspended IN ('no', 'sending', 'both')", name="suspended"),
        Index("ix_bank_terms_version", "version", unique=True),
    )

    bank: str = Field(sa_column=name(primary_key=True))
    version: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    caps: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    suspended: str = Field(sa_column=name())
    fees: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    interest: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    in_force_from: datetime = Field(sa_column=Column(TIMESTAMP(timezone=True), nullable=False))
    changed_by: str = Field(sa_column=name())


class Balance(SQLModel, table=True):
    """What a bank is owed (> 0) or owes (< 0) in one currency, by all that is posted."""

    __tablename__ = "balances"
    __table_args__ = (CheckConstraint("balance = trunc(balance)", name="whole"),)

    bank: str = Field(sa_column=name(primary_key=True))
    currency: str = Field(sa_column=name(primary_key=True))
    balance: Decimal = Field(sa_column=balance())


class Account(SQLModel, table=True):
    """The same for one of the bank's accounts, which opens with its first posted payment."""

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint("balance = trunc(balance)", name="whole"),
        {"postgresql_with": {"fillfactor": 80}},
    )

    bank: str = Field(sa_column=name(primary_key=True))
    account: str = Field(sa_column=name(primary_key=True))
    currency: str = Field(sa_column=name(primary_key=True))
    balance: Decimal = Field(sa_column=balance())
    opened_at: datetime = Field(sa_column=now())


CONVERTED = f"""
num_nonnulls(receiver_amount, receiver_currency, rate, rate_date, rate_version) IN (0, 5)
AND receiver_amount BETWEEN 1 AND {AMOUNT_MAX} AND rate > 0
"""


BOOKED = """
receiver_amount IS NULL AND coalesce(fee, 0) = 0 OR booked_version IS NOT DISTINCT FROM version
"""


class Transaction(SQLModel, table=True):
    """A payment that was accepted, in its newest version. No foreign keys: each would cost as much as the row.

    `fee` is null where none is agreed. Of a payment across currencies: what the receiver gets, and by which rates.
    `booked_version` is the version again,
    where there are more entries than the sender's and the receiver's: a Polka that knows only of those two (the one of
    before, while an upgrade rolls out) leaves it behind, and so cannot change such a payment.
    `rounded_down` is true if the receiver's amount was rounded down. It is null if an older version of Polka converted
    the amount, rounding half to even.
    """

    __tablename__ = "transactions"
    __table_args__ = (
        CheckConstraint(f"amount BETWEEN 1 AND {AMOUNT_MAX}", name="amount"),
        CheckConstraint("length(currency) = 3", name="currency"),
        CheckConstraint("sender_bank <> receiver_bank OR sender_account <> receiver_account", name="parties"),
        CheckConstraint("status IN ('accepted', 'deleted')", name="status"),
        CheckConstraint("(version = 1) = (changed_at IS NULL)", name="changed"),
        CheckConstraint(CONVERTED, name="converted"),
        CheckConstraint("fee >= 0", name="fee"),
        CheckConstraint(BOOKED, name="booked"),
        Index("ix_transactions_sender_bank_id", "sender_bank", "id"),
        Index("ix_transactions_receiver_bank_id", "receiver_bank", "id"),
        Index("ix_transactions_sender_account_id", "sender_account", "id"),
        Index("ix_transactions_receiver_account_id", "receiver_account", "id"),
        Index("ix_transactions_batch", "batch"),
        Index("ix_transactions_reference_id", "reference", "id", postgresql_where=text("reference IS NOT NULL")),
    )

    id: UUID = Field(primary_key=True)
    batch: UUID
    sender_bank: str = Field(sa_column=name())
    sender_account: str = Field(sa_column=name())
    receiver_bank: str = Field(sa_column=name())
    receiver_account: str = Field(sa_column=name())
    amount: int = Field(sa_column=Column(BigInteger, nullable=False))
    currency: str = Field(sa_column=name())
    reference: str | None = Field(sa_column=Column(Text))
    status: str = Field(sa_column=name(server_default="accepted"))
    created_at: datetime = Field(sa_column=now())
    version: int = Field(sa_column=first_version())
    changed_at: datetime | None = Field(sa_column=Column(TIMESTAMP(timezone=True)))
    receiver_amount: int | None = Field(sa_column=Column(BigInteger))
    receiver_currency: str | None = Field(sa_column=Column(Text(collation="C")))
    rate: Decimal | None = Field(sa_column=Column(Numeric))
    rate_date: Day | None = Field(sa_column=Column(Date))
    rate_version: int | None = Field(sa_column=Column(Integer))
    fee: int | None = Field(sa_column=Column(BigInteger))
    booked_version: int | None = Field(sa_column=Column(Integer))
    rounded_down: bool | None = Field(sa_column=Column(Boolean))


class OldVersion(SQLModel, table=True):
    """A transaction as it was, who replaced this version, when and why, and the batch that reverses its entries."""

    __tablename__ = "transaction_history"
    __table_args__ = (
        CheckConstraint("version >= 1", name="version"),
        Index("ix_transaction_history_batch", "batch"),
        Index("ix_transaction_history_reversal_batch", "reversal_batch"),
    )

    id: UUID = Field(primary_key=True)
    version: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    batch: UUID
    sender_bank: str = Field(sa_column=name())
    sender_account: str = Field(sa_column=name())
    receiver_bank: str = Field(sa_column=name())
    receiver_account: str = Field(sa_column=name())
    amount: int = Field(sa_column=Column(BigInteger, nullable=False))
    currency: str = Field(sa_column=name())
    reference: str | None = Field(sa_column=Column(Text))
    status: str = Field(sa_column=name())
    created_at: datetime = Field(sa_column=Column(TIMESTAMP(timezone=True), nullable=False))
    changed_at: datetime | None = Field(sa_column=Column(TIMESTAMP(timezone=True)))
    reversal_batch: UUID
    replaced_at: datetime = Field(sa_column=now())
    replaced_by: str = Field(sa_column=name())
    reason: str | None = Field(sa_column=Column(Text))
    receiver_amount: int | None = Field(sa_column=Column(BigInteger))
    receiver_currency: str | None = Field(sa_column=Column(Text(collation="C")))
    rate: Decimal | None = Field(sa_column=Column(Numeric))
    rate_date: Day | None = Field(sa_column=Column(Date))
    rate_version: int | None = Field(sa_column=Column(Integer))
    fee: int | None = Field(sa_column=Column(BigInteger))


class IdempotencyKey(SQLModel, table=True):
    """What became of a request: its transaction (a version of it), its refusal, or a result for each item."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        CheckConstraint("num_nonnulls(transaction, refusal, items) = 1", name="one_answer"),
        Index("ix_idempotency_keys_created_at", "created_at"),
    )

    caller: str = Field(sa_column=name(primary_key=True))
    key: str = Field(sa_column=name(primary_key=True))
    fingerprint: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    transaction: UUID | None
    refusal: dict[str, str] | None = Field(sa_column=Column(JSON(none_as_null=True)))
    created_at: datetime = Field(sa_column=now())
    version: int = Field(sa_column=first_version())
    items: list[Any] | None = Field(sa_column=Column(JSON(none_as_null=True)))


class ApiKey(SQLModel, table=True):
    """Who may call the api: a bank's key acts for that bank alone, one without a bank for Polka's operators.

    Only a hash of the key is here. Keys are revoked, never deleted. `last_used_at` is exact to about a minute.
    """

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("length(hash) = 32", name="hash"),
        CheckConstraint("length(name) BETWEEN 1 AND 64", name="name"),
        CheckConstraint("cardinality(scopes) > 0", name="scopes"),
        Index("ix_api_keys_hash", "hash", unique=True),
    )

    id: UUID = Field(primary_key=True)
    hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    name: str = Field(sa_column=name())
    bank: str | None = Field(sa_column=Column(Text(collation="C")))
    scopes: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    created_at: datetime = Field(sa_column=now())
    revoked_at: datetime | None = Field(sa_column=Column(TIMESTAMP(timezone=True)))
    expires_at: datetime | None = Field(sa_column=Column(TIMESTAMP(timezone=True)))
    last_used_at: datetime | None = Field(sa_column=Column(TIMESTAMP(timezone=True)))


class RateSet(SQLModel, table=True):
    """The exchange rates of one day as they were published. A later version of the same day corrects an earlier one."""

    __tablename__ = "rate_sets"
    __table_args__ = (
        CheckConstraint("version >= 1", name="version"),
        CheckConstraint("source IN ('recorded', 'fetched')", name="source"),
    )

    date: Day = Field(sa_column=Column(Date, primary_key=True))
    version: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    source: str = Field(sa_column=name())
    stored_at: datetime = Field(sa_column=now())


class Rate(SQLModel, table=True):
    """What one euro is in a currency, by the rates of that day in that version."""

    __tablename__ = "rates"
    __table_args__ = (
        CheckConstraint("length(currency) = 3", name="currency"),
        CheckConstraint("rate > 0", name="rate"),
    )

    date: Day = Field(sa_column=Column(Date, primary_key=True))
    version: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    currency: str = Field(sa_column=name(primary_key=True))
    rate: Decimal = Field(sa_column=Column(Numeric, nullable=False))


class Batch(SQLModel, table=True):
    """Payments that were committed together: the only truth about whether their entries count.

    `unposted` → `posted` by a flush, or `aside` where a flush could not; `void` is a tombstone: this id can
    never commit.
    `policy` is the version that its payments were decided under.
    """

    __tablename__ = "batches"
    __table_args__ = (
        CheckConstraint("state IN ('unposted', 'posted', 'void', 'aside')", name="state"),
        CheckConstraint("(state = 'posted') = (flush IS NOT NULL AND posted_at IS NOT NULL)", name="posted"),
        CheckConstraint("(state = 'void') = (size = 0)", name="size"),
        Index("ix_batches_unposted", "id", postgresql_where=text("state = 'unposted'")),
        Index("ix_batches_aside", "id", postgresql_where=text("state = 'aside'")),
        Index("ix_batches_window_id", "window_id", postgresql_where=text("window_id IS NOT NULL")),
        Index("ix_batches_flush", "flush", postgresql_where=text("flush IS NOT NULL")),
        Index("ix_batches_windowless", "id", postgresql_where=text("state = 'posted' AND window_id IS NULL")),
        {"postgresql_with": {"fillfactor": 80, "autovacuum_vacuum_scale_factor": 0.05}},
    )

    id: UUID = Field(primary_key=True)
    state: str = Field(sa_column=name(server_default="unposted"))
    size: int = Field(sa_column=Column(Integer, nullable=False))
    payload: list[Any] | None = Field(sa_column=Column(JSON(none_as_null=True)))
    flush: int | None = Field(sa_column=Column(BigInteger))
    created_at: datetime = Field(sa_column=now())
    posted_at: datetime | None = Field(sa_column=Column(TIMESTAMP(timezone=True)))
    window_id: int | None = Field(sa_column=Column(BigInteger))
    policy: int | None = Field(sa_column=Column(BigInteger))


class Window(SQLModel, table=True):
    """A clearing window: `open` takes what is posted, `closed` has its nets, `settled` has them paid.

    `flush` is the latest one whose batches are in it; `settlement` the batch of its settlement entries, if its nets
    were not all zero. `is_netted` once its netting figures are kept. `scheduled_for` is the time of the schedule by
    which it was closed, if it was; `interest_batch` the batch of the interest that was booked then, if there was any.
    """

    __tablename__ = "windows"
    __table_args__ = (
        CheckConstraint("state IN ('open', 'closed', 'settled')", name="state"),
        CheckConstraint("(state = 'open') = (closed_at IS NULL) AND (state = 'open') = (flush IS NULL)", name="closed"),
        CheckConstraint(
            "(state = 'settled') = (settled_at IS NOT NULL) AND (state = 'settled' OR settlement IS NULL)",
            name="settled",
        ),
        CheckConstraint("state <> 'open' OR scheduled_for IS NULL", name="scheduled"),
        CheckConstraint("state <> 'open' OR interest_batch IS NULL", name="interest"),
        Index("ix_windows_open", "state", unique=True, postgresql_where=text("state = 'open'")),
        Index("ix_windows_unnetted", "id", postgresql_where=text("NOT is_netted")),
        Index(
            "ix_windows_scheduled_for",
            "scheduled_for",
            unique=True,
            postgresql_where=text("scheduled_for IS NOT NULL"),
        ),
        Index("ix_windows_unsettled", "id", postgresql_where=text("state = 'closed' AND scheduled_for IS NOT NULL")),
    )

    id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    state: str = Field(sa_column=name(server_default="open"))
    opened_at: datetime = Field(sa_column=now())
    closed_at: datetime | None = Field(sa_column=Column(TIMESTAMP(timezone=True)))
    settled_at: datetime | None = Field(sa_column=Column(TIMESTAMP(timezone=True)))
    flush: int | None = Field(sa_column=Column(BigInteger))
    settlement: UUID | None
    is_netted: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=text("false")))
    scheduled_for: datetime | None = Field(sa_column=Column(TIMESTAMP(timezone=True)))
    interest_batch: UUID | None


class InterestAccrual(SQLModel, table=True):
    """What has accrued since the open window's beginning on a bank's balance in a currency that bears interest.

    In minor units × microseconds × basis points a year: `debit` on what it owed, `credit` on what it was owed, up to
    `accrued_until`, from when on the rates hold.
    """

    __tablename__ = "interest_accruals"
    __table_args__ = (
        CheckConstraint("debit >= 0 AND debit = trunc(debit)", name="debit"),
        CheckConstraint("credit >= 0 AND credit = trunc(credit)", name="credit"),
        CheckConstraint("debit_basis_points >= 0 AND credit_basis_points >= 0", name="rates"),
        {"postgresql_with": {"fillfactor": 80}},
    )

    bank: str = Field(sa_column=name(primary_key=True))
    currency: str = Field(sa_column=name(primary_key=True))
    debit_basis_points: int = Field(sa_column=Column(Integer, nullable=False))
    credit_basis_points: int = Field(sa_column=Column(Integer, nullable=False))
    accrued_until: datetime = Field(sa_column=Column(TIMESTAMP(timezone=True), nullable=False))
    debit: Decimal = Field(sa_column=Column(Numeric, nullable=False, server_default="0"))
    credit: Decimal = Field(sa_column=Column(Numeric, nullable=False, server_default="0"))


class ClearingSchedule(SQLModel, table=True):
    """One row: the cron expression by which windows are closed (empty for none), and since when it is in force."""

    __tablename__ = "clearing_schedule"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    expression: str = Field(sa_column=name(server_default=""))
    since: datetime = Field(sa_column=now())


class LiquiditySample(SQLModel, table=True):
    """What Polka owed, was owed and held in one currency at the end of a span of time, and its highest exposure in it.

    See `polka.rules.liquidity`. The flush that changes a figure writes one sample of each resolution.
    """

    __tablename__ = "liquidity_history"
    __table_args__ = (
        CheckConstraint("resolution IN ('flush', 'minute', 'hour', 'day')", name="resolution"),
        CheckConstraint("owes >= 0 AND owed >= 0 AND highest >= owed", name="figures"),
        CheckConstraint("highest_at BETWEEN start AND at AND highest_flush <= flush", name="highest_at"),
        {"postgresql_with": {"fillfactor": 80, "autovacuum_vacuum_scale_factor": 0.05}},
    )

    resolution: str = Field(sa_column=name(primary_key=True))
    currency: str = Field(sa_column=name(primary_key=True))
    start: datetime = Field(sa_column=Column(TIMESTAMP(timezone=True), primary_key=True))
    owes: Decimal = Field(sa_column=balance())
    owed: Decimal = Field(sa_column=balance())
    held: Decimal = Field(sa_column=balance())
    at: datetime = Field(sa_column=Column(TIMESTAMP(timezone=True), nullable=False))
    flush: int = Field(sa_column=Column(BigInteger, nullable=False))
    highest: Decimal = Field(sa_column=balance())
    highest_at: datetime = Field(sa_column=Column(TIMESTAMP(timezone=True), nullable=False))
    highest_flush: int = Field(sa_column=Column(BigInteger, nullable=False))


class WindowNetting(SQLModel, table=True):
    """What banks would have to pay for a window's payments in one currency: see `polka.rules.netting`."""

    __tablename__ = "window_netting"
    __table_args__ = (
        CheckConstraint("gross >= bilateral AND bilateral >= multilateral AND multilateral >= 0", name="order"),
    )

    window_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    currency: str = Field(sa_column=name(primary_key=True))
    gross: Decimal = Field(sa_column=Column(Numeric, nullable=False))
    bilateral: Decimal = Field(sa_column=Column(Numeric, nullable=False))
    multilateral: Decimal = Field(sa_column=Column(Numeric, nullable=False))


class WindowTotal(SQLModel, table=True):
    """What was posted for a bank in a window and currency: sums of debits and of credits, and how many entries.

    Its net is credits less debits. Settlement entries never count. `fees` is what of it the bank has paid as fees, less
    what came back with reversals; `interest` what it has earned (> 0) or paid (< 0) as interest.
    """

    __tablename__ = "window_totals"
    __table_args__ = (
        CheckConstraint("debits >= 0 AND debits = trunc(debits)", name="debits"),
        CheckConstraint("credits >= 0 AND credits = trunc(credits)", name="credits"),
        CheckConstraint("interest = trunc(interest)", name="interest"),
    )

    window_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    bank: str = Field(sa_column=name(primary_key=True))
    currency: str = Field(sa_column=name(primary_key=True))
    debits: Decimal = Field(sa_column=Column(Numeric, nullable=False))
    credits: Decimal = Field(sa_column=Column(Numeric, nullable=False))
    count: int = Field(sa_column=Column(BigInteger, nullable=False))
    fees: Decimal = Field(sa_column=Column(Numeric, nullable=False, server_default="0"))
    interest: Decimal = Field(sa_column=Column(Numeric, nullable=False, server_default="0"))


class AuditRun(SQLModel, table=True):
    """What one run of the audit has come to: see `polka.audit.runs`. The oldest are deleted."""

    __tablename__ = "audit_runs"

    id: int = Field(sa_column=Column(BigInteger, Identity(), primary_key=True))
    began_at: datetime = Field(sa_column=Column(TIMESTAMP(timezone=True), nullable=False))
    ended_at: datetime = Field(sa_column=Column(TIMESTAMP(timezone=True), nullable=False))
    flush: int = Field(sa_column=Column(BigInteger, nullable=False))
    payments_new: int = Field(sa_column=Column(BigInteger, nullable=False))
    payments_again: int = Field(sa_column=Column(BigInteger, nullable=False))
    faults: int = Field(sa_column=Column(Integer, nullable=False))
    findings: list[Any] = Field(sa_column=Column(JSONB, nullable=False))
    skipped: list[Any] = Field(sa_column=Column(JSONB, nullable=False, server_default="[]"))
    verified_from: datetime | None = Field(sa_column=Column(TIMESTAMP(timezone=True)))


class AuditPass(SQLModel, table=True):
    """How far a pass of the audit has come: see `polka.audit.passes`. One follows what is new, and one is under way.

    `first_window` is the first window that was not closed by that flush.
    """

    __tablename__ = "audit_passes"
    __table_args__ = (
        Index("ix_audit_passes_is_present", "is_present", unique=True),
        {"postgresql_with": {"fillfactor": 80}},
    )

    id: int = Field(sa_column=Column(BigInteger, Identity(), primary_key=True))
    flush: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="-1"))
    first_window: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    is_present: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=text("false")))
    began_at: datetime = Field(sa_column=now())


class AuditBalance(SQLModel, table=True):
    """What a pass has verified for a bank and currency (and, of Polka itself, an account): the sum of its entries, and
    their sum weighed by account."""

    __tablename__ = "audit_balances"
    __table_args__ = ({"postgresql_with": {"fillfactor": 80}},)

    pass_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    bank: str = Field(sa_column=name(primary_key=True))
    account: str = Field(sa_column=name(primary_key=True))
    currency: str = Field(sa_column=name(primary_key=True))
    amount: Decimal = Field(sa_column=balance())
    weighed: Decimal = Field(sa_column=balance())


class AuditTotal(SQLModel, table=True):
    """What a pass has verified of the totals of a window that was not closed by then."""

    __tablename__ = "audit_totals"
    __table_args__ = ({"postgresql_with": {"fillfactor": 80}},)

    pass_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    window_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    bank: str = Field(sa_column=name(primary_key=True))
    currency: str = Field(sa_column=name(primary_key=True))
    debits: Decimal = Field(sa_column=Column(Numeric, nullable=False))
    credits: Decimal = Field(sa_column=Column(Numeric, nullable=False))
    count: int = Field(sa_column=Column(BigInteger, nullable=False))
    fees: Decimal = Field(sa_column=Column(Numeric, nullable=False))


class AuditInterest(SQLModel, table=True):
    """What a pass has verified to have accrued since the latest window was closed, up to this time."""

    __tablename__ = "audit_interest"
    __table_args__ = ({"postgresql_with": {"fillfactor": 80}},)

    pass_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    bank: str = Field(sa_column=name(primary_key=True))
    currency: str = Field(sa_column=name(primary_key=True))
    debit: Decimal = Field(sa_column=Column(Numeric, nullable=False))
    credit: Decimal = Field(sa_column=Column(Numeric, nullable=False))
    at: datetime = Field(sa_column=Column(TIMESTAMP(timezone=True), nullable=False))


class AuditSlice(SQLModel, table=True):
    """The key up to which the audit has looked at such rows; null to begin again: see `polka.audit.scans`."""

    __tablename__ = "audit_slices"

    of: str = Field(sa_column=name(primary_key=True))
    after: list[str] | None = Field(sa_column=Column(ARRAY(Text)))
