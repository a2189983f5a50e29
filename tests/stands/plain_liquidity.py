"""Plain definitions of the figures of liquidity."""

import asyncpg

from polka.rules.liquidity import Figures

Balances = dict[tuple[str, str], int]


def plain(balances: Balances, settled: list[tuple[str, int]]) -> dict[str, Figures]:
    """Bank by bank; Polka's own are none of a bank. It holds what banks have settled."""
    currencies = {currency for _, currency in balances}
    return {
        currency: Figures(
            sum(max(held, 0) for (bank, of), held in balances.items() if of == currency and bank != "polka"),
            -sum(min(held, 0) for (bank, of), held in balances.items() if of == currency and bank != "polka"),
            sum(amount for of, amount in settled if of == currency),
        )
        for currency in currencies
    }


async def stored(connection: asyncpg.Connection) -> dict[str, Figures]:
    rows = await connection.fetch("SELECT * FROM balances")
    accounts = await connection.fetch("SELECT * FROM accounts WHERE bank <> 'polka' AND account = 'polka:settlement'")
    return plain(
        {(row["bank"], row["currency"]): int(row["balance"]) for row in rows},
        [(row["currency"], int(row["balance"])) for row in accounts],
    )
