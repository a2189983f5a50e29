"""Keys of the api."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Column, Index, LargeBinary, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from polka.store.tables.columns import NAME, TIME, name, now


class ApiKey(SQLModel, table=True):
    """A key for the api. A bank's key acts only for its bank. A key without a bank acts for Polka's operators.

    The table has only a hash of the key. Keys are revoked, never deleted. `last_used_at` is exact to about a minute.
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
    bank: str | None = Field(sa_column=Column(NAME))
    scopes: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    created_at: datetime = Field(sa_column=now())
    revoked_at: datetime | None = Field(sa_column=Column(TIME))
    expires_at: datetime | None = Field(sa_column=Column(TIME))
    last_used_at: datetime | None = Field(sa_column=Column(TIME))
