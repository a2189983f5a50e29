"""Exchange rates."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, Column, Date, Integer, Numeric
from sqlmodel import Field, SQLModel

from polka.store.tables.columns import Day, name, now


class RateSet(SQLModel, table=True):
    """The exchange rates of one day as published. A later version of the same day corrects an earlier version."""

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
    """The value of one euro in a currency, by the rates of this day and version."""

    __tablename__ = "rates"
    __table_args__ = (
        CheckConstraint("length(currency) = 3", name="currency"),
        CheckConstraint("rate > 0", name="rate"),
    )

    date: Day = Field(sa_column=Column(Date, primary_key=True))
    version: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    currency: str = Field(sa_column=name(primary_key=True))
    rate: Decimal = Field(sa_column=Column(Numeric, nullable=False))
