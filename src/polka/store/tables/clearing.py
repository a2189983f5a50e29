"""Clearing windows, and the liquidity that they leave."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, Numeric, SmallInteger, text
from sqlmodel import Field, SQLModel

from polka.store.tables.columns import TIME, balance, name, now


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
    closed_at: datetime | None = Field(sa_column=Column(TIME))
    settled_at: datetime | None = Field(sa_column=Column(TIME))
    flush: int | None = Field(sa_column=Column(BigInteger))
    settlement: UUID | None
    is_netted: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=text("false")))
    scheduled_for: datetime | None = Field(sa_column=Column(TIME))
    interest_batch: UUID | None


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
    start: datetime = Field(sa_column=Column(TIME, primary_key=True))
    owes: Decimal = Field(sa_column=balance())
    owed: Decimal = Field(sa_column=balance())
    held: Decimal = Field(sa_column=balance())
    at: datetime = Field(sa_column=Column(TIME, nullable=False))
    flush: int = Field(sa_column=Column(BigInteger, nullable=False))
    highest: Decimal = Field(sa_column=balance())
    highest_at: datetime = Field(sa_column=Column(TIME, nullable=False))
    highest_flush: int = Field(sa_column=Column(BigInteger, nullable=False))
