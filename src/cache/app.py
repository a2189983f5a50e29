"""The cache: all its routes, and the resources that its process opens at the start."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from litestar import Litestar, Request, Response, get
from litestar.di import Provide

from cache.access import Access
from cache.chores.auditing import audit_ledger
from cache.chores.pruning import prune_keys
from cache.chores.rates import Refresher
from cache.chores.readings import read_database
from cache.clearing import schedule
from cache.clearing.netting import net_windows
from cache.door import Door
from cache.keeping.keeper import Keeper
from cache.ledger.flush import OutdatedError
from cache.routes import balances, clearing, liquidity, overview
from cache.routes.bodies import BodyRequest
from cache.routes.liquidity import show_liquidity, thin_liquidity
from cache.routes.overview import Watch
from cache.settings import Settings
from polka.edge import monitoring
from polka.edge.drain import Drain
from polka.edge.methods import Methods
from polka.edge.server import Service
from polka.service import settings
from polka.service.background import background
from polka.service.failure import OutdatedFailure
from polka.service.instrumentation import Instrumented
from polka.service.logs import log_failed_request
from polka.service.metrics import show_pool, watch_loop
from polka.service.traces import traced
from polka.store import database
from polka.store.writers import open_writers

log = logging.getLogger(__name__)

WRITERS = 2
"""Sessions for writes beside the flushes."""


@asynccontextmanager
async def app() -> AsyncIterator[Service]:
    """The app, with a running keeper.

    Raises:
        Failure: a setting is invalid, the database is unfit, or another cache has taken over.
    """
    chosen = settings.read(Settings, os.environ)
    settings.check_token(chosen.cache_token, chosen.no_auth)
    schedule.check(settings.variable("clearing_schedule"), chosen.clearing_schedule)
    await database.check(chosen.database_url, chosen.allow_lossy_database)
    try:
        async with (
            database.pool(chosen.database_url, "cache", 4, chosen.flush_timeout_seconds) as pool,
            open_writers(chosen.database_url, "cache writes", WRITERS, chosen.flush_timeout_seconds) as writers,
        ):
            show_pool("cache", pool)
            keeper = Keeper(chosen, writers)
            refresher = Refresher(chosen)
            watch = Watch(settings.own_name(chosen.name))
            async with (
                background(keeper.run()),
                background(prune_keys(chosen, writers)),
                background(net_windows(chosen, pool, writers)),
                background(show_liquidity(keeper, chosen.metrics_banks_max)),
                background(thin_liquidity(writers)),
                background(refresher.run()),
                background(read_database(pool)),
                background(audit_ledger(chosen, keeper, pool)),
                background(watch_loop()),
                background(watch.run()),
            ):
                litestar = Litestar(
                    route_handlers=[
                        elsewhere,
                        balances.hold_batches,
                        balances.reserve,
                        balances.follow_policy,
                        balances.list_banks,
                        balances.get_bank,
                        balances.list_accounts,
                        clearing.close_window,
                        clearing.settle_window,
                        liquidity.get_liquidity,
                        overview.hear_pulse,
                        overview.get_overview,
                    ],
                    logging_config=None,
                    request_class=BodyRequest,
                    exception_handlers={500: on_failure},
                    dependencies={
                        "keeper": Provide(lambda: keeper, sync_to_thread=False),
                        "pool": Provide(lambda: pool, sync_to_thread=False),
                        "watch": Provide(lambda: watch, sync_to_thread=False),
                    },
                    openapi_config=None,
                )
                async with litestar.lifespan():
                    access = Access(Door(Methods(litestar), keeper, pool), chosen.cache_token)
                    app = Instrumented(traced(access, access.knows))
                    yield Service(app, Drain(chosen.drain_seconds), partial(obstacle, keeper))
    except OutdatedError:
        raise OutdatedFailure("Another cache has taken over; this one has written nothing since, and ends.") from None


def on_failure(_: Request[Any, Any, Any], error: Exception) -> Response[dict[str, str]]:
    """The caller cannot know whether the work was done."""
    if database.is_not_text(error):
        return Response({"detail": database.NUL}, status_code=400)
    if isinstance(error, database.ERRORS) and database.is_passing(error):
        log.warning("the database does not answer: %r", error)
    else:
        log_failed_request(log, error)
    return Response({"detail": "The request failed; the log of the cache says why."}, status_code=500)


@get(monitoring.PATHS, sync_to_thread=False)
def elsewhere() -> Response[dict[str, str]]:
    """Older versions answered these paths here."""
    return Response({"detail": monitoring.ELSEWHERE}, status_code=404)


def obstacle(keeper: Keeper) -> str | None:
    """The cache serves after it has read the ledger and posted all earlier commits."""
    return "starting" if keeper.service is None else None
