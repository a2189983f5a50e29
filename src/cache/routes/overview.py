"""`POST /pulse` and `GET /overview`: reports of the apis, and the figures of the console, all at one moment."""

import asyncio
import os
import time
from collections import deque
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from litestar import MediaType, Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter

from cache.keeping.keeper import Keeper
from cache.keeping.service import Service
from polka import __version__
from polka.rules import overview
from polka.rules.liquidity import highest_within, start_of
from polka.rules.overview import Book, CacheHealth, Overview
from polka.rules.pulses import LINES_SECONDS, PULSE_SECONDS, Line, Pulse, Pulses, line


class Watch:
    """The cache's knowledge of all processes, including itself."""

    def __init__(self, name: str) -> None:
        self.pulses = Pulses()
        self._name = name
        self._since = datetime.now(UTC)
        self._lag_seconds = 0.0
        self.lines: deque[Line] = deque(maxlen=int(LINES_SECONDS / PULSE_SECONDS))

    async def run(self) -> None:
        """Measure the delay of the event loop, and remember the rates, for ever."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(PULSE_SECONDS)
            now = time.monotonic()
            self._lag_seconds = now - began - PULSE_SECONDS
            self.lines.append(line(datetime.now(UTC), self.pulses.rates(now)))

    def health(self, service: Service | None) -> CacheHealth:
        age = (datetime.now(UTC) - service.as_of).total_seconds() if service else 0.0
        return CacheHealth(
            self._name,
            os.getpid(),
            __version__,
            self._since,
            round(self._lag_seconds, 4),
            service.epoch if service else 0,
            service.ledger.flush if service else 0,
            round(max(age, 0.0), 2),
            len(service.ledger.pending) if service else 0,
        )


@post("/pulse", status_code=204)
async def hear_pulse(data: JSONBody[Pulse], watch: NamedDependency[Watch]) -> None:
    """Take the report of an api. The report is forgotten after a time without new reports."""
    watch.pulses.hear(data, time.monotonic())


@get("/overview")
async def get_overview(
    keeper: NamedDependency[Keeper],
    watch: NamedDependency[Watch],
    currency: Annotated[str | None, QueryParameter()] = None,
    lines: Annotated[bool, QueryParameter()] = False,
) -> Response[bytes]:
    """All processes, and the positions in one currency, from memory."""
    service, now = keeper.service, time.monotonic()
    currencies = sorted(service.liquidity) if service else []
    seen = Overview(
        watch.pulses.rates(now),
        watch.pulses.heard(now),
        watch.health(service),
        currencies,
        book_of(service, overview.chosen(currency, currencies)) if service else None,
        list(watch.lines) if lines else [],
    )
    return Response(msgspec.json.encode(seen), media_type=MediaType.JSON)


def book_of(service: Service, currency: str | None) -> Book | None:
    if currency is None:
        return None
    day = service.liquidity[currency]
    highest = highest_within(start_of("day", service.as_of), day)
    ledger = service.ledger
    return overview.book(currency, ledger.flush, day.last, highest, ledger.held(currency), ledger.policy.caps)
