"""Banks and their accounts as the api shows them: what each holds, and a bank's terms."""

from typing import Annotated

import msgspec

from polka.rules.formats import Time
from polka.rules.pages import OLDER_CURSOR
from polka.rules.policy import Fee, Interest, MinorUnits, Suspended
from polka.rules.transactions import BankName, is_account_id


class AsOf(msgspec.Struct, frozen=True):
    """The latest flush in `posted`, and the time of the database at this moment."""

    flush: int
    time: Time


class Position(msgspec.Struct, frozen=True):
    """Minor units in a currency. `pending` is None if the cache was not asked."""

    currency: str
    posted: int
    pending: int | None


class Bank(msgspec.Struct, frozen=True):
    name: str
    balances: list[Position]
    as_of: AsOf


class Banks(msgspec.Struct, frozen=True):
    """A page of banks in the order of their names. `cursor` is null on the last page."""

    banks: list[Bank]
    cursor: str | None
    next: Annotated[str | None, OLDER_CURSOR]


class Account(msgspec.Struct, frozen=True):
    account: str
    balances: list[Position]


class Accounts(msgspec.Struct, frozen=True):
    """A page of a bank's accounts in the order of their ids. `cursor` is null on the last page."""

    bank: str
    accounts: list[Account]
    as_of: AsOf
    cursor: str | None
    next: Annotated[str | None, OLDER_CURSOR]


class NewBank(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: BankName


class BankWithTerms(msgspec.Struct, frozen=True):
    """A bank's position and its terms: they hold since then, in version `terms_version` of the policy (0 if none)."""

    name: str
    balances: list[Position]
    as_of: AsOf
    caps: dict[str, MinorUnits]
    suspended: Suspended
    fees: dict[str, Fee]
    interest: dict[str, Interest]
    terms_version: int
    terms_since: Time | None


def account_asked(query: bytes) -> str | None:
    """The account of a query with `account` alone, as `account=ACC1`."""
    name, _, value = query.decode("latin-1").partition("=")
    return value if name == "account" and is_account_id(value) else None
