"""*Liquidity*: Polka's debts and claims, banks near their caps, and the exchange rates in use."""

from dashboards.grafana import Json, bars, choice, dashboard, figure, lines, row
from dashboards.queries import OURS, RANGE, series
from dashboards.variables import variables

CURRENCY = 'currency=~"$currency"'
DAY = 86400


def liquidity() -> Json:
    return dashboard(
        "polka-liquidity",
        "Polka: Liquidity",
        "What Polka owes banks, is owed by them and holds, how much of it lies with few, which banks are near their "
        "caps, and how old the exchange rates are. Amounts are minor units of each currency: 1,250 USD are $12.50, "
        "1,250 JPY are ¥1,250. The cache brings them up to date every five seconds. docs/liquidity.md defines each "
        "figure.",
        variables(choice("currency", "Currency", f"label_values(polka_owed_minor_units{{{OURS}}}, currency)")),
        row(
            "How much is at stake",
            figure(
                "Owed by banks now",
                per_currency("polka_owed_minor_units"),
                "locale",
                "What banks owe Polka: the sum of their balances below zero, without the sign, in minor units. It is "
                "what Polka would have to chase if nobody paid.",
                legend="{{release}} {{currency}}",
                width=8,
            ),
            figure(
                "Highest since midnight",
                per_currency("polka_highest_owed_minor_units"),
                "locale",
                "The most that banks owed Polka at any flush since midnight UTC, in minor units.",
                legend="{{release}} {{currency}}",
                width=8,
            ),
            figure(
                "Cap in use, at most",
                f"max({series('polka_cap_use_ratio', CURRENCY)})",
                "percentunit",
                "What the bank that is nearest to its net debit cap uses of it, with what is pending. At 100 % its "
                "payments are refused as cap_exceeded.",
                steps=[(0.75, "orange"), (0.9, "red")],
                nothing="no caps",
                runbooks=["PolkaCapNear"],
            ),
            figure(
                "Age of the exchange rates",
                f"max({series('polka_rates_age_seconds')})",
                "s",
                "Since the day of the newest exchange rates began. They come on days on which banks are open, so a "
                "weekend is three days, and Easter nearly six. After seven, nothing is converted by rates that were "
                "fetched.",
                steps=[(5 * DAY, "orange"), (6 * DAY, "red")],
                nothing="not looked yet",
                runbooks=["PolkaRatesStale"],
            ),
        ),
        row(
            "Through the day",
            lines(
                "Owed by banks",
                [
                    (per_currency("polka_owed_minor_units"), "{{release}} {{currency}}"),
                    (
                        per_currency("polka_highest_owed_minor_units"),
                        "{{release}} {{currency}}, highest since midnight",
                    ),
                ],
                "locale",
                "What banks owe Polka, in minor units, and the most that it was since midnight UTC. Settling a window "
                "brings it down.",
                width=12,
            ),
            lines(
                "Owed to banks",
                [(per_currency("polka_owes_minor_units"), "{{release}} {{currency}}")],
                "locale",
                "What Polka owes banks: the sum of their balances above zero, in minor units. Without fees, interest "
                "and conversions it is what Polka is owed.",
                width=12,
            ),
            lines(
                "Held by Polka",
                [(per_currency("polka_held_minor_units"), "{{release}} {{currency}}")],
                "locale",
                "What banks have paid Polka when windows were settled, less what it has paid them, in minor units: "
                "fees and interest that it earned, and conversions. Below zero in a currency that it has paid out.",
                lowest=None,
                width=12,
            ),
            lines(
                "Share of the largest five banks",
                [
                    (
                        f"{per_currency('polka_concentration_ratio', 'currency, side')} > 0",
                        "{{release}} {{currency}}, {{side}}",
                    )
                ],
                "percentunit",
                "How much of what Polka is owed (debtors) and of what it owes (creditors) is with five banks. At 100 % "
                "they are all of it; with few banks it always is. No line while nothing is owed.",
                width=12,
            ),
        ),
        row(
            "By bank",
            bars(
                "Most in debt",
                [(f"topk(10, 0 - {balances()} > 0)", "{{release}} {{bank}} {{currency}}")],
                "locale",
                "The ten largest debts of a bank in one currency, in minor units. Amounts of different currencies "
                "stand beside each other as they are: choose one currency to compare.",
                width=12,
            ),
            bars(
                "Most in credit",
                [(f"topk(10, {balances()} > 0)", "{{release}} {{bank}} {{currency}}")],
                "locale",
                "The ten largest balances above zero of a bank in one currency, in minor units: what Polka owes it.",
                width=12,
            ),
            bars(
                "Caps in use",
                [
                    (
                        f"sort_desc(max by (release, currency, bank) ({series('polka_cap_use_ratio', CURRENCY)}))",
                        "{{release}} {{bank}} {{currency}}",
                    )
                ],
                "percentunit",
                "What the ten banks of a currency that are nearest to their caps use of them, with what is pending "
                "out. At 100 % nothing more can be paid; interest may bring a bank past it.",
                steps=[(0.75, "orange"), (0.9, "red")],
                highest=1,
                runbooks=["PolkaCapNear"],
                width=12,
            ),
            lines(
                "Caps in use, over time",
                [
                    (
                        f"max by (release, currency, bank) ({series('polka_cap_use_ratio', CURRENCY)})",
                        "{{release}} {{bank}} {{currency}}",
                    )
                ],
                "percentunit",
                "The same over time. A bank has no line while ten others of the currency are nearer to their caps.",
                steps=[(0.9, "red")],
                runbooks=["PolkaCapNear"],
                width=12,
            ),
        ),
        row(
            "Exchange rates",
            lines(
                "Age of the exchange rates, over time",
                [(f"max({series('polka_rates_age_seconds')})", "age")],
                "s",
                "Since the day of the newest exchange rates began. It falls when new ones are taken.",
                steps=[(6 * DAY, "red")],
                runbooks=["PolkaRatesStale"],
                width=12,
            ),
            lines(
                "Looks for new rates",
                [(f"sum by (outcome) (increase({series('polka_rates_fetches_total')}[{RANGE}]))", "{{outcome}}")],
                "short",
                "What became of the looks for new exchange rates: one an hour, unless POLKA_RATES_REFRESH_SECONDS says "
                "otherwise.",
                runbooks=["PolkaRatesStale"],
                width=12,
            ),
        ),
        span="now-24h",
    )


def per_currency(metric: str, by: str = "currency") -> str:
    """For each chosen Polka, from its serving cache. A second cache has no figures before its start is complete."""
    return f"max by (release, {by}) ({series(metric, CURRENCY)})"


def balances() -> str:
    return f"max by (release, currency, bank) ({series('polka_balance_minor_units', CURRENCY)})"
