"""Fills an empty Polka with banks and open accounts."""

from polka.store import database

BANKS = """
INSERT INTO banks (name) SELECT 'bank' || n FROM generate_series(1, $1::int) AS n ON CONFLICT DO NOTHING
"""
ACCOUNTS = """
INSERT INTO accounts (bank, account, currency, balance)
SELECT 'bank' || (n % $1::int + 1), 'ACC' || (n / $1::int + 1), $3, 0 FROM generate_series(0, $2::int - 1) AS n
ON CONFLICT DO NOTHING
"""


def bank_name(number: int) -> str:
    """The name of the seeded bank with this number, from 1."""
    return f"bank{number}"


def account_id(number: int) -> str:
    """The id of a seeded bank's account with this number, from 1."""
    return f"ACC{number}"


async def seed(database_url: str, banks: int, accounts: int, currency: str = "USD") -> None:
    """Create this many banks, and this many accounts spread over the banks. Existing banks and accounts stay unchanged.

    Raises:
        Failure: the database is unavailable.
    """
    async with database.session(database_url) as connection, connection.transaction():
        await connection.execute(BANKS, banks)
        await connection.execute(ACCOUNTS, banks, accounts, currency)
