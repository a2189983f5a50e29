"""This process's own pulse for the cache, computed from its metrics. Payments count nothing extra for it."""

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.samples import Sample

from api import metrics
from api.cache_client import CacheClient
from polka import __version__
from polka.rules.pulses import PULSE_SECONDS, Pulse, Pulses
from polka.service import instrumentation

log = logging.getLogger(__name__)


class Heart:
    """`own` has the latest pulses of this process, for times without the cache."""

    def __init__(self, name: str, queue_max: int, cache: CacheClient) -> None:
        self.own = Pulses()
        self._name = name
        self._queue_max = queue_max
        self._cache = cache
        self._since = datetime.now(UTC)
        self._began = time.monotonic()

    async def run(self) -> None:
        """Beat for ever. No failure of a pulse affects payments."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(PULSE_SECONDS)
            try:
                await self._beat(began + PULSE_SECONDS)
            except Exception:
                log.exception("this process could not say how it does")

    async def _beat(self, due: float) -> None:
        now = time.monotonic()
        pulse = self._pulse(now, now - due)
        self.own.hear(pulse, now)
        await self._cache.tell_pulse(pulse)

    def _pulse(self, now: float, lag_seconds: float) -> Pulse:
        latency = instrumentation.SECONDS.labels("POST", "/transaction")
        return Pulse(
            self._name,
            os.getpid(),
            __version__,
            self._since,
            now - self._began,
            committed=int(sum(one.value for one in samples(metrics.COMMIT_PAYMENTS, "_sum"))),
            outcomes={
                outcome: count.number
                for (operation, outcome), count in metrics.OPERATIONS.children.items()
                if operation == "payment"
            },
            latency=[(None if bound == "+Inf" else float(bound), number) for bound, number in latency.buckets()],
            queue=int(sum(one.value for one in samples(metrics.QUEUE, ""))),
            queue_max=self._queue_max,
            lag_seconds=round(lag_seconds, 4),
        )


def samples(metric: MetricWrapperBase, suffix: str) -> Iterator[Sample]:
    """The current values of the metric's series with this suffix."""
    return (one for found in metric.collect() for one in found.samples if one.name == found.name + suffix)
