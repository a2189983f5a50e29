"""Batches, and the flushes that post them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, SmallInteger, text
from sqlalchemy.dialects.postgresql import JSON
from sqlmodel import Field, SQLModel

from polka.store.tables.columns import TIME, name, now


class Epoch(SQLModel, table=True):
    """One row: the number of the writing cache. Every session that changes balances holds the row FOR SHARE."""

    __tablename__ = "epoch"
    __table_args__ = (
        CheckConstraint("id = 1", name="one_row"),
        CheckConstraint("number >= 0", name="number"),
    )

    id: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    number: int = Field(sa_column=Column(BigInteger, nullable=False))
    raised_at: datetime = Field(sa_column=now())


class Flush(SQLModel, table=True):
    """One row: the number of the latest flush with postings, across all epochs.

    Interest accrues by the rates of the policy version `policy`.
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


class Batch(SQLModel, table=True):
    """Payments that were committed together: the only truth about whether their entries count.

    `unposted` becomes `posted` by a flush, or `aside` if no flush can post the batch. `void` is a tombstone: this id
    can never commit.

    `policy` is the version under which its payments were decided.
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
    posted_at: datetime | None = Field(sa_column=Column(TIME))
    window_id: int | None = Field(sa_column=Column(BigInteger))
    policy: int | None = Field(sa_column=Column(BigInteger))
