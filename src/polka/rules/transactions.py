"""A payment as a client asks for it, the transaction that it becomes, and its double entries."""

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
"""The name under which Polka itself is a party: no bank can have it."""
CONVERSION = "conversion"
"""Polka's own account that takes the other side in both currencies of a payment across two."""
FEES = "fees"
"""Polka's own account that gets what payments cost."""

Entry = tuple[str, str, str, int]
"""One line of the ledger: bank, account, currency and the amount in minor units, below zero for a debit."""


class Party(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One side of a payment: an account, and its bank, which must exist."""

    bank: Annotated[str, msgspec.Meta(max_length=64)]
    account: AccountId


Code = Annotated[str, msgspec.Meta(max_length=3, description="ISO 4217.")]


class Payment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client asks for. Without a `receiver_currency` that is another, the receiver gets what the sender pays."""

    sender: Party
    receiver: Party
    amount: Amount
    currency: Code = "USD"
    reference: Reference | None = None
    receiver_currency: Code | UnsetType | None = UNSET  # left out where it is not given: a fingerprint stays as it was

    @property
    def crosses(self) -> bool:
        """Whether the receiver gets another currency."""
        return bool(self.receiver_currency) and self.receiver_currency != self.currency


class PartyAmendment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be another of one side; the rest stays."""

    bank: Annotated[str, msgspec.Meta(max_length=64)] | UnsetType = UNSET
    account: AccountId | UnsetType = UNSET


class Amendment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be another of a payment (JSON Merge Patch, RFC 7396). Amounts, currencies and rate stay for ever."""

    sender: PartyAmendment | UnsetType = UNSET
    receiver: PartyAmendment | UnsetType = UNSET
    reference: Reference | UnsetType | None = UNSET


class Transaction(msgspec.Struct, frozen=True):
    """A payment as it is recorded; what a client gets back.

    `version` counts from 1; `changed_at` says when a later version was made, and `batch` is the batch of this
    version's entries (of the reversal, where the status is `deleted`), `window` the clearing window that it is in.
    `fee` is what it cost the sender beside it, in minor units of `currency`; there is none where none is agreed.
    A payment across currencies has the last five fields, which say what the receiver gets, and by which rates. `rate`
    is what one unit (not minor unit) of `currency` is in `receiver_currency`, as it is shown: the amount comes of the
    exact one.
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
        """What the receiver gets, if that is another currency."""
        values: tuple[Any, ...] = (
            self.receiver_amount,
            self.receiver_currency,
            self.rate,
            self.rate_date,
            self.rate_version,
        )
        return None if self.receiver_amount is UNSET else Converted(*values)


class OldVersion(msgspec.Struct, frozen=True):
    """A transaction as it was, the batch that reverses it, and who replaced it, when and why."""

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
    """The transaction with what the amendment says, and everything else as it was."""
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
    """The transaction as one whose receiver gets this."""
    return msgspec.structs.replace(
        transaction,
        receiver_amount=converted.amount,
        receiver_currency=converted.currency,
        rate=converted.rate,
        rate_date=converted.rate_date,
        rate_version=converted.rate_version,
    )


def entries_of(payment: Payment | Transaction, converted: Converted | None, fee: int | UnsetType | None) -> list[Entry]:
    """The debit of the sender and the credit of the receiver, across currencies each against Polka's own account; and
    the fee, from the sender to Polka.

    They come two by two, and each two sum to zero.
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
    """The entries that undo the transaction's own."""
    made = entries_of(transaction, transaction.converted, transaction.fee)
    return [(bank, account, currency, -amount) for bank, account, currency, amount in made]
