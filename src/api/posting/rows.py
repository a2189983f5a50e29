"""The columns of a payment, defined once: the rows for a commit's statement as JSON, the SQL that reads the rows, and
the transaction of a stored row.

A new column of a payment needs an entry here, in `store/tables/payments.py` with a migration, and in
`rules/transactions.py`.
"""

from collections.abc import Iterable
from typing import Any

import asyncpg
import msgspec
from msgspec import UNSET
from msgspec.structs import astuple

from polka.rules.rates import Converted
from polka.rules.transactions import Party, Payment, Transaction, across

Key = tuple[str, str]
"""The caller, and the caller's idempotency key."""
NO_KEY = (None, None)
NOT_CONVERTED = (None,) * len(Converted.__struct_fields__)

PARTIES = ("sender_bank", "sender_account", "receiver_bank", "receiver_account")
RECEIVED = ("receiver_amount", "receiver_currency", "rate", "rate_date", "rate_version")
"""Of a payment across currencies, in the order of `Converted`."""
STORED = ("id", *PARTIES, "amount", "currency", "reference", *RECEIVED, "fee")
"""The columns that a new payment brings to `transactions`. The statement adds the others."""
KEPT = (*STORED, "version", "batch", "status", "created_at", "changed_at")
"""The columns of a replaced version in the history."""
CHANGED = ("status", *PARTIES, "reference", "fee")
"""The columns that a change replaces."""
OF_KEY = ("caller", "key", "fingerprint")

PAYMENT_ROW = ("id", *PARTIES, "amount", "currency", "reference", *OF_KEY, *RECEIVED, "fee")
CHANGE_ROW = ("id", "version", "status", *PARTIES, "reference", "by", "reason", *OF_KEY, "fee")
BULK_ROW = (*OF_KEY, "items")

CASTS = {
    **dict.fromkeys(("id",), "(r->>{})::uuid"),
    **dict.fromkeys(("amount", "receiver_amount", "fee"), "(r->>{})::bigint"),
    **dict.fromkeys(("version", "rate_version"), "(r->>{})::int"),
    "rate": "(r->>{})::numeric",
    "rate_date": "(r->>{})::date",
    "fingerprint": "decode(r->>{}, 'hex')",
    "items": "(r->{})::json",
}
"""How SQL reads values other than text."""


def read_rows(row: Iterable[str], parameter: str) -> str:
    """The query that reads these rows from the parameter, a JSON array of arrays."""
    columns = ", ".join(f"{CASTS.get(name, 'r->>{}').format(place)} AS {name}" for place, name in enumerate(row))
    return f"SELECT {columns} FROM jsonb_array_elements({parameter}::jsonb) AS r"


def names(columns: Iterable[str], of: str = "") -> str:
    """The columns as an SQL list, qualified by the table if given."""
    return ", ".join(f"{of}.{name}" if of else name for name in columns)


def assignments(columns: Iterable[str], of: str) -> str:
    return ", ".join(f"{name} = {of}.{name}" for name in columns)


def payment_row(
    id: str, payment: Payment, converted: Converted | None, fee: int | None, key: Key | None, fingerprint: str
) -> tuple[Any, ...]:
    """As `PAYMENT_ROW`. Nulls at the end are left out."""
    sender, receiver = payment.sender, payment.receiver
    row = (
        id,
        sender.bank,
        sender.account,
        receiver.bank,
        receiver.account,
        payment.amount,
        payment.currency,
        payment.reference,
        *(key or NO_KEY),
        fingerprint,
    )
    if converted is None and fee is None:
        return row
    return *row, *(astuple(converted) if converted else NOT_CONVERTED), fee


def change_row(
    old: Transaction, new: Transaction, by: str, reason: str | None, key: Key | None, fingerprint: str
) -> tuple[Any, ...]:
    """As `CHANGE_ROW`."""
    return (
        new.id,
        old.version,
        new.status,
        new.sender.bank,
        new.sender.account,
        new.receiver.bank,
        new.receiver.account,
        new.reference,
        by,
        reason,
        *(key or NO_KEY),
        fingerprint,
        None if new.fee is UNSET else new.fee,
    )


def transaction_of(row: asyncpg.Record) -> Transaction:
    """From a row of `transactions` or of their versions, with the posting of the batch if the row has it."""
    made = Transaction(
        id=str(row["id"]),
        version=row["version"],
        status=row["status"],
        sender=Party(row["sender_bank"], row["sender_account"]),
        receiver=Party(row["receiver_bank"], row["receiver_account"]),
        amount=row["amount"],
        currency=row["currency"],
        reference=row["reference"],
        batch=str(row["batch"]),
        created_at=row["created_at"],
        changed_at=row["changed_at"],
        posted_at=row.get("posted_at"),
        window=row.get("window_id"),
    )
    if row["fee"] is not None:
        made = msgspec.structs.replace(made, fee=row["fee"])
    if row["receiver_amount"] is None:
        return made
    rate = f"{row['rate']:f}"
    received = Converted(row["receiver_amount"], row["receiver_currency"], rate, row["rate_date"], row["rate_version"])
    return across(made, received)
