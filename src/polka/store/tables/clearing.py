"""Clearing windows, and the liquidity history."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, Numeric, SmallInteger, text
from sqlmodel import Field, SQLModel

from polka.store.tables.columns import TIME, balance, name, now


class Window(SQLModel, table=True):
    """A clearing window: `open` receives postings, `closed` has its nets, `settled` has its nets paid.

    `flush` is the latest flush of the window. `settlement` is the batch of its settlement entries, unless all nets were
    zero. `is_netted` is true once the netting figures are stored. `scheduled_for` is the time of the schedule that
    closed the window, if any. `interest_batch` is the batch of the interest booked at the closing, if any.
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
    closed_at: datetime | None = Field(sa_column=Column(TIME))
    settled_at: datetime | None = Field(sa_column=Column(TIME))
    flush: int | None = Field(sa_column=Column(BigInteger))
    settlement: UUID | None
    is_netted: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=text("false")))
    scheduled_for: datetime | None = Field(sa_column=Column(TIME))
    interest_batch: UUID | None


class WindowTotal(SQLModel, table=True):
    """The postings of a bank in a window and currency: the sums of debits and of credits, and the number of entries.

    The net is credits less debits. Settlement entries never count. `fees` are the fees in these sums, less fees that
    reversals returned. `interest` is the earned (> 0) or paid (< 0) interest in these sums.
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


class WindowNetting(SQLModel, table=True):
    """The sums that banks would have to pay for a window's payments in one currency: see `polka.rules.netting`."""

    __tablename__ = "window_netting"
    __table_args__ = (
        CheckConstraint("gross >= bilateral AND bilateral >= multilateral AND multilateral >= 0", name="order"),
    )

    window_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    currency: str = Field(sa_column=name(primary_key=True))
    gross: Decimal = Field(sa_column=Column(Numeric, nullable=False))
    bilateral: Decimal = Field(sa_column=Column(Numeric, nullable=False))
    multilateral: Decimal = Field(sa_column=Column(Numeric, nullable=False))


class ClearingSchedule(SQLModel, table=True):
    """One row: the cron expression of the schedule (empty for none), and the start of its validity."""

    __tablename__ = "clearing_schedule"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    expression: str = Field(sa_column=name(server_default=""))
    since: datetime = Field(sa_column=now())


class LiquiditySample(SQLModel, table=True):
    """Polka's debts, claims and holdings in one currency at the end of a span of time, and the highest exposure in the
    span.

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
    start: datetime = Field(sa_column=Column(TIME, primary_key=True))
    owes: Decimal = Field(sa_column=balance())
    owed: Decimal = Field(sa_column=balance())
    held: Decimal = Field(sa_column=balance())
    at: datetime = Field(sa_column=Column(TIME, nullable=False))
    flush: int = Field(sa_column=Column(BigInteger, nullable=False))
    highest: Decimal = Field(sa_column=balance())
    highest_at: datetime = Field(sa_column=Column(TIME, nullable=False))
    highest_flush: int = Field(sa_column=Column(BigInteger, nullable=False))
