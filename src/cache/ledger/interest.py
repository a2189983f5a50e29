"""The statements that accrue and book interest, each in a transaction that holds the epoch.

A balance accrues interest before the balance or its rate changes. The history of a balance is therefore in the database
alone, and a killed cache loses nothing.
"""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from polka.rules import interest
from polka.rules.interest import Change
from polka.rules.policy import Interest
from polka.store.database import Connection

ACCRUE = """
UPDATE interest_accruals AS accrued
SET debit = debit + greatest(-balance, 0) * microseconds * debit_basis_points,
    credit = credit + greatest(balance, 0) * microseconds * credit_basis_points,
    accrued_until = greatest(accrued_until, at)
FROM (
    SELECT bank, currency, at, coalesce(balance, 0) AS balance,
           greatest((extract(epoch FROM at - accrued_until) * 1000000)::bigint, 0) AS microseconds
    FROM ({which}) which JOIN interest_accruals USING (bank, currency) LEFT JOIN balances USING (bank, currency)
) passed
WHERE accrued.bank = passed.bank AND accrued.currency = passed.currency
"""
"""A clock that goes back subtracts nothing: accrual continues from the latest time."""
ACCRUE_SOME = ACCRUE.format(
    which="SELECT bank, currency, $1::timestamptz AS at FROM unnest($2::text[], $3::text[]) AS touched (bank, currency)"
)
ACCRUE_ALL = ACCRUE.format(which="SELECT bank, currency, $1::timestamptz AS at FROM interest_accruals")
ACCRUED = "SELECT bank, currency, debit, credit FROM interest_accruals WHERE debit <> 0 OR credit <> 0 ORDER BY 2, 1"
BEGIN_ANEW = "UPDATE interest_accruals SET debit = 0, credit = 0 WHERE debit <> 0 OR credit <> 0"
VERSIONS = """
SELECT bank, in_force_from, interest FROM bank_terms WHERE version > $1 AND version <= $2 ORDER BY version
"""
RATES = """
SELECT bank, currency, debit_basis_points, credit_basis_points FROM interest_accruals WHERE bank = ANY($1::text[])
"""
CHANGE = """
INSERT INTO interest_accruals (bank, currency, accrued_until, debit_basis_points, credit_basis_points)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT (bank, currency)
DO UPDATE SET debit_basis_points = excluded.debit_basis_points, credit_basis_points = excluded.credit_basis_points
"""
FOLLOWED = "UPDATE flush SET policy = $1"


async def follow(connection: Connection, known: int, policy: int) -> None:
    """Put the rates of this version of the policy in force, each from its own time on, after the known version."""
    versions = [
        (row["bank"], row["in_force_from"], decode(row["interest"]))
        for row in await connection.fetch(VERSIONS, known, policy)
    ]
    rates = {
        (row["bank"], row["currency"]): Interest(row["debit_basis_points"], row["credit_basis_points"])
        for row in await connection.fetch(RATES, [bank for bank, _, _ in versions])
    }
    for change in interest.changes(rates, versions):
        await have_rate(connection, change)
    await connection.execute(FOLLOWED, policy)


async def have_rate(connection: Connection, change: Change) -> None:
    await accrue(connection, change.at, [(change.bank, change.currency)])
    basis_points = change.interest.debit_basis_points, change.interest.credit_basis_points
    await connection.execute(CHANGE, change.bank, change.currency, change.at, *basis_points)


async def accrue(connection: Connection, at: datetime, balances: Iterable[tuple[str, ...]]) -> None:
    """Accrue interest up to this time on these balances, by bank and currency. Balances without interest are
    skipped."""
    banks, currencies = zip(*sorted(balances), strict=True)
    await connection.execute(ACCRUE_SOME, at, banks, currencies)


async def book(connection: Connection, at: datetime) -> dict[tuple[str, str], int]:
    """The interest accrued up to this time, in minor units by bank and currency. The accrual starts again from zero."""
    await connection.execute(ACCRUE_ALL, at)
    accrued = await connection.fetch(ACCRUED)
    await connection.execute(BEGIN_ANEW)
    return {
        (row["bank"], row["currency"]): interest.amount(row["currency"], int(row["debit"]), int(row["credit"]))
        for row in accrued
    }


decode = msgspec.json.Decoder(dict[str, Interest]).decode
