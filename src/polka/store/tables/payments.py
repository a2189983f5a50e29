"""Payments in their versions, and the keys of their requests."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSON
from sqlmodel import Field, SQLModel

from polka.rules.money import AMOUNT_MAX
from polka.store.tables.columns import NAME, TIME, Day, first_version, name, now

CONVERTED = f"""
num_nonnulls(receiver_amount, receiver_currency, rate, rate_date, rate_version) IN (0, 5)
AND receiver_amount BETWEEN 1 AND {AMOUNT_MAX} AND rate > 0
"""
ANSWER: Any = JSON(none_as_null=True)
BOOKED = """
receiver_amount IS NULL AND coalesce(fee, 0) = 0 OR booked_version IS NOT DISTINCT FROM version
"""


class Version(SQLModel):
    """The columns of every version of a payment, newest or old.

    `fee` is null if no fee is agreed. A payment across currencies also has the receiver's amount and its rates.
    """

    id: UUID = Field(primary_key=True)
    batch: UUID
    sender_bank: str = Field(sa_type=NAME)
    sender_account: str = Field(sa_type=NAME)
    receiver_bank: str = Field(sa_type=NAME)
    receiver_account: str = Field(sa_type=NAME)
    amount: int = Field(sa_type=BigInteger)
    currency: str = Field(sa_type=NAME)
    reference: str | None = Field(sa_type=Text)
    changed_at: datetime | None = Field(sa_type=TIME)
    receiver_amount: int | None = Field(sa_type=BigInteger)
    receiver_currency: str | None = Field(sa_type=NAME)
    rate: Decimal | None = Field(sa_type=Numeric)
    rate_date: Day | None = Field(sa_type=Date)
    rate_version: int | None = Field(sa_type=Integer)
    fee: int | None = Field(sa_type=BigInteger)


class Transaction(Version, table=True):
    """An accepted payment in its newest version. There are no foreign keys, because each would cost as much as the row.

    `booked_version` repeats the version if there are more entries than the sender's and the receiver's. An older
    version of Polka, which may run during an upgrade, writes only these two entries. The older version does not raise
    `booked_version`, so its change of such a payment fails.

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

    status: str = Field(sa_column=name(server_default="accepted"))
    created_at: datetime = Field(sa_column=now())
    version: int = Field(sa_column=first_version())
    booked_version: int | None = Field(sa_column=Column(Integer))
    rounded_down: bool | None = Field(sa_column=Column(Boolean))


class OldVersion(Version, table=True):
    """A replaced version of a transaction: who replaced it, when and why, and the batch that reverses its entries."""

    __tablename__ = "transaction_history"
    __table_args__ = (
        CheckConstraint("version >= 1", name="version"),
        Index("ix_transaction_history_batch", "batch"),
        Index("ix_transaction_history_reversal_batch", "reversal_batch"),
    )

    version: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    status: str = Field(sa_column=name())
    created_at: datetime = Field(sa_column=Column(TIME, nullable=False))
    reversal_batch: UUID
    replaced_at: datetime = Field(sa_column=now())
    replaced_by: str = Field(sa_column=name())
    reason: str | None = Field(sa_column=Column(Text))


class KeyFields(SQLModel):
    """The columns of an idempotency key. The last ones were added later."""

    caller: str = Field(sa_type=NAME, primary_key=True)
    key: str = Field(sa_type=NAME, primary_key=True)
    fingerprint: bytes = Field(sa_type=LargeBinary)
    transaction: UUID | None
    refusal: dict[str, str] | None = Field(sa_type=ANSWER)
    created_at: datetime = Field(sa_type=TIME, sa_column_kwargs={"server_default": text("now()")})
    version: int = Field(sa_type=Integer, sa_column_kwargs={"server_default": "1"})
    items: list[Any] | None = Field(sa_type=ANSWER)


class IdempotencyKey(KeyFields, table=True):
    """The outcome of a request: its transaction (a version of it), its refusal, or a result for each item.

    Reads of this table include its children, which hold the keys. The table itself holds keys from before the
    generations. A trigger moves a key that an older Polka inserts here into a child.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        CheckConstraint("num_nonnulls(transaction, refusal, items) = 1", name="one_answer"),
        Index("ix_idempotency_keys_created_at", "created_at"),
    )


CHILD = {"postgresql_inherits": "idempotency_keys"}


class IdempotencyKey0(KeyFields, table=True):
    """The keys of each third generation."""

    __tablename__ = "idempotency_keys_0"
    __table_args__ = CHILD


class IdempotencyKey1(KeyFields, table=True):
    __tablename__ = "idempotency_keys_1"
    __table_args__ = CHILD


class IdempotencyKey2(KeyFields, table=True):
    __tablename__ = "idempotency_keys_2"
    __table_args__ = CHILD


class IdempotencyGeneration(SQLModel, table=True):
    """One row: the generation of new keys, and its start. The start identifies the generation, because a restored
    database may reuse a number."""

    __tablename__ = "idempotency_generation"
    __table_args__ = (
        CheckConstraint("id = 1", name="one_row"),
        CheckConstraint("number >= 1", name="number"),
    )

    id: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    number: int = Field(sa_column=Column(BigInteger, nullable=False))
    began_at: datetime = Field(sa_column=Column(TIME, nullable=False))
