"""Runs of the audit, and the verified sums of its passes."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Identity, Index, Integer, Numeric, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel

from polka.store.tables.columns import TIME, balance, name, now


class AuditRun(SQLModel, table=True):
    """The result of one run of the audit: see `polka.audit.runs`. The oldest are deleted."""

    __tablename__ = "audit_runs"

    id: int = Field(sa_column=Column(BigInteger, Identity(), primary_key=True))
    began_at: datetime = Field(sa_column=Column(TIME, nullable=False))
    ended_at: datetime = Field(sa_column=Column(TIME, nullable=False))
    flush: int = Field(sa_column=Column(BigInteger, nullable=False))
    payments_new: int = Field(sa_column=Column(BigInteger, nullable=False))
    payments_again: int = Field(sa_column=Column(BigInteger, nullable=False))
    faults: int = Field(sa_column=Column(Integer, nullable=False))
    findings: list[Any] = Field(sa_column=Column(JSONB, nullable=False))
    skipped: list[Any] = Field(sa_column=Column(JSONB, nullable=False, server_default="[]"))
    verified_from: datetime | None = Field(sa_column=Column(TIME))


class AuditPass(SQLModel, table=True):
    """The progress of a pass of the audit: see `polka.audit.passes`. One pass follows new flushes, and one pass is
    under way.

    `first_window` is the first window that was not closed by this flush.
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
    """The verified sum of the entries of a bank and currency (and, for Polka itself, of an account), and the sum
    weighted by account."""

    __tablename__ = "audit_balances"
    __table_args__ = ({"postgresql_with": {"fillfactor": 80}},)

    pass_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    bank: str = Field(sa_column=name(primary_key=True))
    account: str = Field(sa_column=name(primary_key=True))
    currency: str = Field(sa_column=name(primary_key=True))
    amount: Decimal = Field(sa_column=balance())
    weighed: Decimal = Field(sa_column=balance())


class AuditTotal(SQLModel, table=True):
    """The verified totals of a window that was not closed by the pass's flush."""

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
    """The verified interest since the latest closed window, up to this time."""

    __tablename__ = "audit_interest"
    __table_args__ = ({"postgresql_with": {"fillfactor": 80}},)

    pass_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    bank: str = Field(sa_column=name(primary_key=True))
    currency: str = Field(sa_column=name(primary_key=True))
    debit: Decimal = Field(sa_column=Column(Numeric, nullable=False))
    credit: Decimal = Field(sa_column=Column(Numeric, nullable=False))
    at: datetime = Field(sa_column=Column(TIME, nullable=False))


class AuditSlice(SQLModel, table=True):
    """The last checked key of these rows; null to begin again: see `polka.audit.scans`."""

    __tablename__ = "audit_slices"

    of: str = Field(sa_column=name(primary_key=True))
    after: list[str] | None = Field(sa_column=Column(ARRAY(Text)))
