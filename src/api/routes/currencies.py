"""Currencies: a list, exchange rates, and conversions (`/currencies` …)."""

from datetime import date
from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.http.access import Needs
from api.http.problems import RefusedError, refuse
from api.http.refusals import NO_RATES, Refusal, Refused
from api.posting import exchange
from api.routes.described import CONVERTS, described
from api.routes.payments import unknown_currency
from api.settings import Settings
from polka.rules.currencies import Conversion, Currencies, DayRates, Money
from polka.rules.keys import Scope
from polka.rules.money import AMOUNT_MAX, CURRENCIES, is_currency
from polka.rules.rates import EURO
from polka.store import rate_sets
from polka.store.database import Pool

CODE = r"^[A-Z]{3}\Z"


@get("/currencies", tags=["Currencies"], guards=[Needs(Scope.TRANSACTIONS_READ)], sync_to_thread=False)
def list_currencies() -> Currencies:
    """All currencies for payments, by code: the currencies of ISO 4217 with minor units."""
    return Currencies(CURRENCIES)


@get("/rates", tags=["Currencies"], guards=[Needs(Scope.TRANSACTIONS_READ)], opt=described(Refusal.NOT_FOUND))
async def get_rates(
    pool: NamedDependency[Pool],
    date: Annotated[date | None, QueryParameter(description="The day, as 2026-01-31; without one, today.")] = None,
) -> DayRates:
    """The exchange rates in force on a day: the newest rates of this day or an earlier day."""
    stored = (await rate_sets.in_force(pool, date)).stored
    if stored is None:
        refuse(Refusal.NOT_FOUND, f"There are no rates of {date} or before." if date else "There are no rates yet.")
    rates = stored.rates
    return DayRates(EURO, rates.date, stored.version, stored.source, stored.stored_at, rates.of_euro)


@get("/convert", tags=["Currencies"], guards=[Needs(Scope.TRANSACTIONS_READ)], opt=described(*CONVERTS))
async def convert_amount(
    pool: NamedDependency[Pool],
    settings: NamedDependency[Settings],
    from_: Annotated[str, QueryParameter(name="from", description="ISO 4217.", pattern=CODE)],
    to: Annotated[str, QueryParameter(description="ISO 4217.", pattern=CODE)],
    amount: Annotated[int, QueryParameter(description="Minor units of `from`.", ge=1, le=AMOUNT_MAX)],
) -> Conversion:
    """The value of an amount in another currency today. No money moves."""
    for field, currency in (("from", from_), ("to", to)):
        if not is_currency(currency):
            raise RefusedError(unknown_currency(field, currency))
    newest = await rate_sets.in_force(pool)
    if (stored := newest.stored) is None:
        raise RefusedError(NO_RATES)
    found = exchange.quote(stored, newest.today, settings, amount, ("from", from_), ("to", to))
    if isinstance(found, Refused):
        raise RefusedError(found)
    return Conversion(
        Money(amount, from_), Money(found.amount, to), found.rate, found.rate_date, found.rate_version, stored.source
    )
