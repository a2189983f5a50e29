"""The names of constraints and indexes, and columns that many tables have."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import TIMESTAMP, Column, Integer, Numeric, Text, text
from sqlmodel import SQLModel

METADATA = SQLModel.metadata
METADATA.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "pk": "pk_%(table_name)s",
}

NAME: Any = Text(collation="C")
"""Text that is compared byte by byte: the same order in every database, and in Python."""
TIME: Any = TIMESTAMP(timezone=True)
Day = date  # for columns named like their type


def name(**options: Any) -> Column[str]:
    return Column(NAME, nullable=False, **options)


def now() -> Column[datetime]:
    return Column(TIME, nullable=False, server_default=text("now()"))


def first_version() -> Column[int]:
    return Column(Integer, nullable=False, server_default="1")


def balance() -> Column[Decimal]:
    return Column(Numeric, nullable=False)
