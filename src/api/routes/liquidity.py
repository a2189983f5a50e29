"""Liquidity (`/liquidity…`): debts, credits and money of Polka, now and over time."""

from typing import Annotated

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.cache_client import CacheClient
from api.http.access import Needs
from api.http.problems import RefusedError
from api.http.refusals import Refusal
from api.routes.answers import as_json
from api.routes.described import described
from api.routes.pages import CURSOR, Limit
from api.routes.payments import unknown_currency
from api.routes.search import read_time
from polka.rules.keys import Scope
from polka.rules.liquidity import Exposures, LiquidityHistory, Resolution
from polka.rules.money import is_currency
from polka.rules.pages import PAGE_MAX
from polka.store import exposures
from polka.store.database import Pool
from polka.store.positions import encode


@get("/liquidity", tags=["Liquidity"], guards=[Needs(Scope.OPERATE)])
async def get_liquidity(
    cache: NamedDependency[CacheClient],
    pool: NamedDependency[Pool],
    caps: Annotated[
        int,
        QueryParameter(
            description="The most banks to list in each currency, nearest to their caps.", ge=0, le=PAGE_MAX
        ),
    ] = 10,
) -> Response[Exposures]:
    """For each currency Polka's debts to banks, debts of banks, money, and the highest debt of banks today.

    Today began at midnight, UTC. A concentration is the share of the largest five banks, in basis points. `caps` are
    the banks with the most used net debit caps.
    """
    return as_json(await cache.ask("/liquidity", {"caps": caps}) or encode(await exposures.exposures(pool, caps)))


@get(
    "/liquidity/history",
    tags=["Liquidity"],
    guards=[Needs(Scope.OPERATE)],
    opt=described(Refusal.UNKNOWN_CURRENCY),
)
async def get_liquidity_history(
    pool: NamedDependency[Pool],
    currency: Annotated[str, QueryParameter(description="ISO 4217.", pattern=r"^[A-Z]{3}\Z")],
    resolution: Annotated[
        Resolution,
        QueryParameter(description="Samples of each flush are kept for 1 hour, of minutes 2 days, of hours 92 days."),
    ] = "minute",
    from_: Annotated[
        str | None,
        QueryParameter(name="from", description="Spans that began at this time or later.", format="date-time"),
    ] = None,
    to: Annotated[
        str | None, QueryParameter(description="Spans that began before this time.", format="date-time")
    ] = None,
    cursor: Annotated[str | None, QueryParameter(description=CURSOR, format="date-time")] = None,
    limit: Limit = 100,
) -> Response[LiquidityHistory]:
    """The figures of a currency over time, the newest first.

    A sample has the figures at the end of its span, and the highest debt of banks in the span. A span without a change
    has no sample: its figures are those of the span before.
    """
    if not is_currency(currency):
        raise RefusedError(unknown_currency("currency", currency))
    ends = [time for time in (read_time(to, "to"), read_time(cursor, "cursor")) if time]
    since, until = read_time(from_, "from"), min(ends, default=None)
    return as_json(encode(await exposures.history(pool, currency, resolution, since, until, limit)))
