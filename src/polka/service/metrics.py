"""Metrics of every service's own process: the delay of its event loop, its pools, its version."""

import asyncio
from typing import Protocol

from prometheus_client import Gauge, Histogram

from polka import __version__
from polka.service.counting import SECONDS

LOOK_SECONDS = 0.1

LOOP_LAG_SECONDS = Histogram(
    "polka_event_loop_lag_seconds",
    "Delay of a timer of the event loop, measured ten times a second.",
    buckets=SECONDS,
)
POOL_CONNECTIONS = Gauge("polka_pool_connections", "Connections of a pool to Postgres.", ["pool", "state"])
POOL_MAX = Gauge("polka_pool_max_connections", "Most connections of a pool to Postgres.", ["pool"])
BUILD = Gauge("polka_build_info", "1, with the version of the running Polka.", ["version"])

BUILD.labels(__version__).set(1)


class Pooled(Protocol):
    """A pool of connections, for its metrics."""

    def size_max(self) -> int: ...

    def idle(self) -> int: ...

    def in_use(self) -> int: ...


async def watch_loop() -> None:
    """Measure the delay of the event loop, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LOOK_SECONDS
        await asyncio.sleep(LOOK_SECONDS)
        LOOP_LAG_SECONDS.observe(max(0.0, loop.time() - due))


def show_pool(name: str, pool: Pooled) -> None:
    """Show the use of the pool from now on."""
    POOL_CONNECTIONS.labels(name, "in_use").set_function(pool.in_use)
    POOL_CONNECTIONS.labels(name, "idle").set_function(pool.idle)
    POOL_MAX.labels(name).set(pool.size_max())
