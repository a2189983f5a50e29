"""API keys: making, hashing and reading a key, and its caller. Only hashes of keys are stored."""

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from typing import Annotated

import msgspec

from polka.rules.formats import Id, Time
from polka.rules.headers import Fields
from polka.rules.pages import OLDER_CURSOR
from polka.rules.transactions import BANK_NAME, POLKA, BankName

PREFIX = "polka_"
RANDOM_BYTES = 20
KEY = re.compile(rf"{PREFIX}[0-9a-f]{{{2 * RANDOM_BYTES}}}")


class Scope(Enum):
    """The rights of a key."""

    TRANSACTIONS_WRITE = "transactions:write"
    TRANSACTIONS_READ = "transactions:read"
    BANKS_WRITE = "banks:write"
    OPERATE = "operate"
    KEYS_WRITE = "keys:write"


BANK_SCOPES = frozenset({Scope.TRANSACTIONS_WRITE, Scope.TRANSACTIONS_READ})
"""All rights of a bank's key. The other scopes are for Polka's operators."""
DEFAULT_SCOPES = (Scope.TRANSACTIONS_WRITE, Scope.TRANSACTIONS_READ)


class Caller(msgspec.Struct, frozen=True):
    """The bank behind a key, or Polka's operators if there is no bank."""

    id: str
    bank: str | None
    scopes: frozenset[Scope]
    expires_at: datetime | None = None

    @property
    def name(self) -> str:
        """The name for a caller's idempotency keys and changes, the same for all keys of the caller."""
        return self.bank or POLKA

    @property
    def share(self) -> str:
        """The owner of the caller's limits. All keys of a bank have one share; each key of operators has its own."""
        return self.bank or f"key/{self.id}"  # no bank's name has a slash

    def acts_for(self, bank: str) -> bool:
        """Whether the caller may send, amend and delete as this bank, and see everything of this bank."""
        return self.bank is None or self.bank == bank


def caller_of(id: str, bank: str | None, scopes: Iterable[str], expires_at: datetime | None = None) -> Caller:
    """The caller of a stored key. Scopes beyond a bank's scopes are ignored in a bank's key."""
    given = set(scopes)  # may contain scopes of a newer Polka
    granted = frozenset(scope for scope in Scope if scope.value in given)
    return Caller(id, bank, granted if bank is None else granted & BANK_SCOPES, expires_at)


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new key: with a bank for this bank alone, without a bank for Polka's operators.

    The key is rejected from `expires_at` on. Without this time the key does not expire.
    """

    name: Annotated[str, msgspec.Meta(pattern=BANK_NAME, description="For people, to tell keys apart.")]
    bank: BankName | None = None
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1, max_length=len(Scope))] = DEFAULT_SCOPES
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None

    def refused_scopes(self) -> list[str]:
        """Scopes that a bank's key cannot have."""
        return sorted(scope.value for scope in self.scopes if self.bank is not None and scope not in BANK_SCOPES)

    def beyond(self, maker: Caller) -> tuple[str, str] | None:
        """The field that would give more rights than the maker's own key has, and the reason. None if no field does."""
        if lacking := sorted(scope.value for scope in self.scopes if scope not in maker.scopes):
            return "scopes", f"your key does not have {lacking[0]}"
        if maker.bank is not None and self.bank != maker.bank:
            return "bank", f"your key acts for {maker.bank} alone"
        if maker.expires_at and not (self.expires_at and self.expires_at <= maker.expires_at):
            return "expires_at", f"must not be later than {maker.expires_at.isoformat()}, when your key expires"
        return None


class ApiKey(msgspec.Struct, frozen=True):
    """The public part of a key."""

    id: Id
    name: str
    bank: str | None
    scopes: list[str]
    created_at: Time
    revoked_at: Time | None
    expires_at: Time | None
    last_used_at: Time | None


class MadeKey(msgspec.Struct, frozen=True):
    """A new key. The secret `key` is shown this once."""

    key: str
    id: Id
    name: str
    bank: str | None
    scopes: list[str]
    created_at: Time
    expires_at: Time | None


class ApiKeys(msgspec.Struct, frozen=True):
    """A page of keys in the order of their creation. `cursor` is null on the last page."""

    keys: list[ApiKey]
    cursor: Id | None
    next: Annotated[Id | None, OLDER_CURSOR]


def key_of(random: bytes) -> str:
    """The key of 20 random bytes."""
    return PREFIX + random.hex()


def is_key(text: str) -> bool:
    """Whether the text has the form of a key."""
    return KEY.fullmatch(text) is not None


def hash_of(key: bytes) -> bytes:
    """The stored form of a key, also for lookups. Keys are random, so the hash needs no salt and may be fast."""
    return hashlib.sha256(key).digest()


def bearer_token(fields: Fields) -> bytes | None:
    """The token of `Authorization: Bearer …` (RFC 6750). None without this header."""
    value = fields.get(b"authorization")
    if value is None or value[:7].lower() != b"bearer ":
        return None
    return value[7:].strip()
