"""Liquidity in the cache: `GET /liquidity` from memory, metrics, and the thinning of old history."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Annotated

from litestar import MediaType, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from cache import metrics
from cache.keeping.keeper import Keeper
from cache.keeping.service import Service, as_of
from cache.routes.balances import serving
from polka.rules.liquidity import KEPT, Exposure, Exposures, concentration, nearest
from polka.rules.pages import PAGE_MAX
from polka.rules.policy import BASIS_POINTS
from polka.store import database, positions
from polka.store.database import Connection
from polka.store.exposures import exposure
from polka.store.writers import Writers

log = logging.getLogger(__name__)

SHOW_SECONDS = 5.0
CAPS_SHOWN = 10
"""In each currency. Each cap is a time series for the collector of the metrics."""
THIN_SECONDS = 60.0

# The newest sample stays at any age, because the next sample continues from it.
THIN = """
DELETE FROM liquidity_history AS old WHERE resolution = $1 AND start < now() - $2::interval AND EXISTS (
    SELECT FROM liquidity_history AS newer
    WHERE newer.resolution = old.resolution AND newer.currency = old.currency AND newer.start > old.start
)
"""


@get("/liquidity")
async def get_liquidity(
    keeper: NamedDependency[Keeper], caps: Annotated[int, QueryParameter(ge=0, le=PAGE_MAX)]
) -> Response[bytes]:
    """Polka's debts, claims and holdings in each currency, from memory."""
    return Response(positions.encode(await exposures(serving(keeper), caps)), media_type=MediaType.JSON)


async def exposures(service: Service, caps: int) -> Exposures:
    """All as of one flush. Other tasks run between currencies, because 10,000 banks take a while."""
    days, latest = dict(service.liquidity), as_of(service)
    balances, uses = service.ledger.balances(), service.ledger.uses_of_caps()
    currencies = []
    for currency, day in sorted(days.items()):
        await asyncio.sleep(0)
        shares = concentration(balances.get(currency, ()))
        currencies.append(exposure(currency, day, shares, nearest(uses.get(currency, ()), caps), latest.time))
    return Exposures(currencies, latest)


async def show_liquidity(keeper: Keeper, banks_max: int) -> None:
    """Update the metrics for ever, with this many balances of banks."""
    while True:
        if service := keeper.service:
            show((await exposures(service, CAPS_SHOWN)).currencies)
            show_balances(service.ledger.largest(banks_max))
        await asyncio.sleep(SHOW_SECONDS)


def show(currencies: Iterable[Exposure]) -> None:
    metrics.CAP_USE.clear()  # another bank may be nearer by now
    for shown in currencies:
        metrics.OWES.labels(shown.currency).set(shown.owes)
        metrics.OWED.labels(shown.currency).set(shown.owed)
        metrics.HELD.labels(shown.currency).set(shown.held)
        metrics.HIGHEST_OWED.labels(shown.currency).set(shown.highest.owed)
        shares = shown.concentration
        for side, share in (("debtors", shares.debtors), ("creditors", shares.creditors)):
            metrics.CONCENTRATION.labels(shown.currency, side).set((share or 0) / BASIS_POINTS)
        for use in shown.caps:
            metrics.CAP_USE.labels(shown.currency, use.bank).set(use.basis_points / BASIS_POINTS)


def show_balances(balances: Iterable[tuple[str, str, int]]) -> None:
    metrics.BALANCES.clear()  # others may be larger by now
    for bank, currency, balance in balances:
        metrics.BALANCES.labels(bank, currency).set(balance)


async def thin_liquidity(writers: Writers) -> None:
    """Delete samples that are too old for their resolution, for ever."""
    while True:
        try:
            await writers.do(thin)
        except database.ERRORS as error:
            database.report(log, "the history of liquidity could not be thinned", error)
        await asyncio.sleep(THIN_SECONDS)


async def thin(connection: Connection) -> None:
    for resolution, kept in KEPT.items():
        await connection.execute(THIN, resolution, kept)
