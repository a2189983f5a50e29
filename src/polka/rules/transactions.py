"""A client's payment, its transaction, and its double entries."""

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from polka.rules.formats import Id, Time
from polka.rules.money import Amount
from polka.rules.rates import Converted

BANK_NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}\Z"

BankName = Annotated[
    str,
    msgspec.Meta(
        pattern=BANK_NAME,
        description="Letters, digits, spaces, dots, hyphens and underscores.",
    ),
]
AccountId = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=34,
        description="Letters and digits; an IBAN fits.",
        extra_json_schema={"pattern": "^[A-Za-z0-9]+$"},
    ),
]
"""Its letters are checked by `is_account_id`: four regular expressions a payment cost as much as its JSON."""
Reference = Annotated[
    str,
    msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]+\Z", max_length=140, description="Free text without control characters."),
]

POLKA = "polka"
"""The name of Polka itself as a party. No bank can have this name."""
CONVERSION = "conversion"
"""Polka's own account for the other side, in both currencies, of payments across currencies."""
FEES = "fees"
"""Polka's own account for fees."""

Entry = tuple[str, str, str, int]
"""One line of the ledger: bank, account, currency and the amount in minor units, below zero for a debit."""


class Party(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One side of a payment: an account, and its bank. The bank must exist."""

    bank: Annotated[str, msgspec.Meta(max_length=64)]
    account: AccountId


Code = Annotated[str, msgspec.Meta(max_length=3, description="ISO 4217.")]


class Payment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A payment of a client. Without another `receiver_currency` the receiver gets the amount of the sender."""

    sender: Party
    receiver: Party
    amount: Amount
    currency: Code = "USD"
    reference: Reference | None = None
    receiver_currency: Code | UnsetType | None = UNSET  # UNSET is left out, for unchanged fingerprints

    @property
    def crosses(self) -> bool:
        """Whether the receiver gets another currency."""
        return bool(self.receiver_currency) and self.receiver_currency != self.currency


class PartyAmendment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes of one side. The rest stays."""

    bank: Annotated[str, msgspec.Meta(max_length=64)] | UnsetType = UNSET
    account: AccountId | UnsetType = UNSET


class Amendment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes of a payment (JSON Merge Patch, RFC 7396). Amounts, currencies and rate never change."""

    sender: PartyAmendment | UnsetType = UNSET
    receiver: PartyAmendment | UnsetType = UNSET
    reference: Reference | UnsetType | None = UNSET


class Transaction(msgspec.Struct, frozen=True):
    """A recorded payment, as clients get the payment.

    `version` counts from 1. `changed_at` is the time of a later version. `batch` is the batch of this version's
    entries (of the reversal, if the status is `deleted`), `window` its clearing window. `fee` is the price for the
    sender, in minor units of `currency`; a payment without an agreed fee has no `fee`. A payment across currencies has
    the last five fields: the amount of the receiver, and the rates. `rate` is the shown value of a unit (not minor
    unit) of `currency` in `receiver_currency`. The amount is computed from the exact rate.
    """

    id: Id
    version: int
    status: Literal["accepted", "deleted"]
    sender: Party
    receiver: Party
    amount: int
    currency: str
    reference: str | None
    batch: Id
    created_at: Time
    changed_at: Time | None = None
    posted_at: Time | None = None
    window: int | None = None
    fee: int | UnsetType = UNSET
    receiver_amount: int | UnsetType = UNSET
    receiver_currency: str | UnsetType = UNSET
    rate: str | UnsetType = UNSET
    rate_date: date | UnsetType = UNSET
    rate_version: int | UnsetType = UNSET

    @property
    def converted(self) -> Converted | None:
        """The amount of the receiver, in another currency."""
        values: tuple[Any, ...] = (
            self.receiver_amount,
            self.receiver_currency,
            self.rate,
            self.rate_date,
            self.rate_version,
        )
        return None if self.receiver_amount is UNSET else Converted(*values)


class OldVersion(msgspec.Struct, frozen=True):
    """An old transaction, the batch of its reversal, and the author, time and reason of the replacement."""

    transaction: Transaction
    reversal_batch: Id
    replaced_at: Time
    replaced_by: str
    reason: str | None


def is_bank_name(text: str) -> bool:
    return re.match(BANK_NAME, text) is not None


def is_account_id(text: str) -> bool:
    """1 to 34 letters and digits."""
    return 0 < len(text) <= 34 and text.isascii() and text.isalnum()


def amended(transaction: Transaction, amendment: Amendment) -> Transaction:
    """The transaction after the amendment."""
    reference = transaction.reference if amendment.reference is UNSET else amendment.reference
    return msgspec.structs.replace(
        transaction,
        sender=amended_party(transaction.sender, amendment.sender),
        receiver=amended_party(transaction.receiver, amendment.receiver),
        reference=reference,
    )


def amended_party(party: Party, amendment: PartyAmendment | UnsetType) -> Party:
    if amendment is UNSET:
        return party
    return Party(
        party.bank if amendment.bank is UNSET else amendment.bank,
        party.account if amendment.account is UNSET else amendment.account,
    )


def recorded(
    payment: Payment, id: str, batch: str, at: datetime, converted: Converted | None, fee: int | None
) -> Transaction:
    """The payment's transaction in its first version, which the batch recorded at this time."""
    made = Transaction(
        id,
        1,
        "accepted",
        payment.sender,
        payment.receiver,
        payment.amount,
        payment.currency,
        payment.reference,
        batch,
        at,
    )
    if converted:
        made = across(made, converted)
    return made if fee is None else msgspec.structs.replace(made, fee=fee)


def across(transaction: Transaction, converted: Converted) -> Transaction:
    """The transaction with this amount for the receiver."""
    return msgspec.structs.replace(
        transaction,
        receiver_amount=converted.amount,
        receiver_currency=converted.currency,
        rate=converted.rate,
        rate_date=converted.rate_date,
        rate_version=converted.rate_version,
    )


def entries_of(payment: Payment | Transaction, converted: Converted | None, fee: int | UnsetType | None) -> list[Entry]:
    """The debit of the sender, the credit of the receiver (across currencies each against Polka's own account), and the
    fee from the sender to Polka.

    Entries come in pairs, and each pair sums to zero.
    """
    sender, receiver, currency, amount = payment.sender, payment.receiver, payment.currency, payment.amount
    if converted is None:
        entries = [
            (sender.bank, sender.account, currency, -amount),
            (receiver.bank, receiver.account, currency, amount),
        ]
    else:
        entries = [
            (sender.bank, sender.account, currency, -amount),
            (POLKA, CONVERSION, currency, amount),
            (POLKA, CONVERSION, converted.currency, -converted.amount),
            (receiver.bank, receiver.account, converted.currency, converted.amount),
        ]
    if fee:
        entries += [(sender.bank, sender.account, currency, -fee), (POLKA, FEES, currency, fee)]
    return entries


def reversal_of(transaction: Transaction) -> list[Entry]:
    """The reversal of the transaction's entries."""
    made = entries_of(transaction, transaction.converted, transaction.fee)
    return [(bank, account, currency, -amount) for bank, account, currency, amount in made]
