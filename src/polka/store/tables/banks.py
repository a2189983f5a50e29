"""Banks, their terms and their balances."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, Numeric, SmallInteger
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from polka.store.tables.columns import TIME, balance, name, now


class Bank(SQLModel, table=True):
    __tablename__ = "banks"
    __table_args__ = (CheckConstraint("length(name) BETWEEN 1 AND 64 AND name <> 'polka'", name="name"),)

    name: str = Field(sa_column=name(primary_key=True))
    created_at: datetime = Field(sa_column=now())


class Policy(SQLModel, table=True):
    """One row: the version of the policy in force. Each commit must be decided under this version."""

    __tablename__ = "policy"
    __table_args__ = (
        CheckConstraint("id = 1", name="one_row"),
        CheckConstraint("version >= 0", name="version"),
    )

    id: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    changed_at: datetime = Field(sa_column=now())


class BankTerms(SQLModel, table=True):
    """A bank's terms from this version of the policy on, until its next terms: see `polka.rules.policy`. Kept for ever.

    `in_force_from` is the database's time of the change, in the order of the versions. Every version belongs to one
    bank.
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
    in_force_from: datetime = Field(sa_column=Column(TIME, nullable=False))
    changed_by: str = Field(sa_column=name())


class Balance(SQLModel, table=True):
    """Polka's debt to a bank (> 0), or the bank's debt to Polka (< 0), in one currency, from all posted entries."""

    __tablename__ = "balances"
    __table_args__ = (CheckConstraint("balance = trunc(balance)", name="whole"),)

    bank: str = Field(sa_column=name(primary_key=True))
    currency: str = Field(sa_column=name(primary_key=True))
    balance: Decimal = Field(sa_column=balance())


class Account(SQLModel, table=True):
    """The same for one account of the bank. An account opens with its first posted payment."""

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


class InterestAccrual(SQLModel, table=True):
    """The interest accrued in the open window on a bank's balance in a currency that bears interest.

    In minor units × microseconds × basis points a year: `debit` on the bank's debt, `credit` on Polka's debt, up to
    `accrued_until`. The rates hold from then on.
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
    accrued_until: datetime = Field(sa_column=Column(TIME, nullable=False))
    debit: Decimal = Field(sa_column=Column(Numeric, nullable=False, server_default="0"))
    credit: Decimal = Field(sa_column=Column(Numeric, nullable=False, server_default="0"))
