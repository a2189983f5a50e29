"""The api: all its routes and middleware, and the resources that a process opens at its start."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.di import Provide

from api import cache_client
from api.console import console
from api.console.feed import Feed
from api.console.pulse import Heart
from api.http import access, problems
from api.http.access import Access
from api.http.key_uses import open_key_uses
from api.http.keyring import open_keyring
from api.http.limits import Limits
from api.posting import policies, posting
from api.posting.exchange import open_exchange
from api.routes import (
    audits,
    banks,
    bulk,
    changes,
    clearing,
    currencies,
    drills,
    front,
    health,
    keys,
    liquidity,
    payments,
    queries,
    search,
    terms,
    transactions,
)
from api.routes.account import AccountLane
from api.routes.answers import Json
from api.routes.banks import KnownBanks
from api.routes.deadlines import Deadlines
from api.routes.direct import DirectLane
from api.routes.payments import FastLane, Payments
from api.routes.readiness import Readiness
from api.routes.turns import Turns
from api.schema import openapi
from api.settings import Settings
from polka.edge import bounds, tls
from polka.edge.drain import Drain
from polka.edge.methods import Methods
from polka.edge.server import Service
from polka.service import settings, traces
from polka.service.background import background
from polka.service.instrumentation import Instrumented
from polka.service.metrics import show_pool, watch_loop
from polka.service.traces import traced
from polka.store import database
from polka.store.writers import open_writers

ROUTES = [
    front.show_front,
    health.hello,
    health.elsewhere,
    payments.post_transaction,
    transactions.find_transaction,
    transactions.get_transaction,
    transactions.get_one_of_transactions,
    bulk.post_transactions,
    changes.amend_transaction,
    changes.delete_transaction,
    transactions.get_history,
    search.list_transactions,
    banks.list_banks,
    banks.open_bank,
    banks.get_bank,
    terms.change_terms,
    banks.list_accounts,
    clearing.list_windows,
    clearing.close_window,
    clearing.get_window,
    clearing.settle_window,
    liquidity.get_liquidity,
    liquidity.get_liquidity_history,
    audits.list_audit_runs,
    currencies.list_currencies,
    currencies.get_rates,
    currencies.convert_amount,
    keys.create_key,
    keys.list_keys,
    keys.revoke_key,
    drills.list_drills,
    drills.start_drill,
    console.show_console,
    console.get_console_file,
    console.open_session,
    console.stream_events,
]


WRITERS = 2
"""Sessions of one process for writes beside its lanes."""


@asynccontextmanager
async def app() -> AsyncIterator[Service]:
    """The app of one process, with open connections and a running writer.

    Raises:
        Failure: a setting is invalid, or the database is unfit.
    """
    chosen = settings.read(Settings, os.environ)
    settings.check_token(chosen.cache_token, chosen.no_auth)
    await database.check(chosen.database_url, chosen.allow_lossy_database)
    async with (
        database.pool(
            *(chosen.database_url, "api", chosen.database_pool_size, chosen.commit_timeout_seconds),
            waiting_max=chosen.queue_reads_max,
        ) as pool,
        database.pool(
            *(chosen.database_url, "api search", chosen.search_pool_size, chosen.commit_timeout_seconds),
            search.SESSION,
            chosen.queue_reads_max,
        ) as search_pool,
        open_writers(chosen.database_url, "api writes", WRITERS, chosen.commit_timeout_seconds) as writers,
        cache_client.connect(chosen, settings.read(tls.CacheSettings, os.environ)) as cache,
        policies.open_policies(writers) as policy,
        posting.open_posting(chosen, writers, cache, policy) as poster,
        open_keyring(chosen, pool) as keyring,
        open_key_uses(writers) as key_uses,
        open_exchange(chosen, writers) as exchange,
        background(watch_loop()),
    ):
        show_pool("api", pool)
        show_pool("api search", search_pool)
        known_banks = KnownBanks(writers)
        limits = Limits(chosen.rate_per_second, chosen.rate_burst)
        turns = Turns()
        drain = Drain(chosen.drain_seconds)
        paying = Payments(poster, known_banks, exchange, chosen.request_timeout_seconds)
        name = settings.own_name(chosen.name)
        heart = Heart(name, chosen.queue_payments_max, cache)
        readiness = Readiness(tuple(poster.lanes), keyring, policy)
        feed = Feed(name, bool(chosen.control_socket), cache, pool, policy, heart)
        litestar = Litestar(
            route_handlers=ROUTES,
            response_class=Json,
            guards=[queries.check_query],
            middleware=[Deadlines(chosen.request_timeout_seconds)],
            exception_handlers=problems.HANDLERS,
            dependencies={
                "pool": Provide(lambda: pool, sync_to_thread=False),
                "search_pool": Provide(lambda: search_pool, sync_to_thread=False),
                "search": Provide(search.Search, sync_to_thread=False),
                "writers": Provide(lambda: writers, sync_to_thread=False),
                "policies": Provide(lambda: policy, sync_to_thread=False),
                "cache": Provide(lambda: cache, sync_to_thread=False),
                "known_banks": Provide(lambda: known_banks, sync_to_thread=False),
                "payments": Provide(lambda: paying, sync_to_thread=False),
                "settings": Provide(lambda: chosen, sync_to_thread=False),
                "drain": Provide(lambda: drain, sync_to_thread=False),
                "feed": Provide(lambda: feed, sync_to_thread=False),
                "keyring": Provide(lambda: keyring, sync_to_thread=False),
                "limits": Provide(lambda: limits, sync_to_thread=False),
                "turns": Provide(lambda: turns, sync_to_thread=False),
                "caller": Provide(access.provide_caller),
            },
            request_max_body_size=bounds.BODY_BYTES_MAX,
            openapi_config=openapi.CONFIG,
            logging_config=None,
        )
        async with (
            litestar.lifespan(),
            background(heart.run()),
            background(feed.run()),
            background(readiness.run()),
        ):
            lanes = FastLane(AccountLane(Methods(litestar), known_banks, cache), paying)
            answering = Access(lanes, keyring, key_uses, limits, chosen.cache_token)
            instrumented = Instrumented(traced(answering, answering.knows))
            has_lane = chosen.direct_lane and keyring is not None and not traces.spans
            direct = DirectLane(paying, answering, instrumented) if has_lane else None
            yield Service(instrumented, drain, readiness.obstacle, direct.take if direct else None)
