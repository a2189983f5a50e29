"""The console's feed: a few snapshots a second of Polka's work, made once for all open consoles of this process.

Without an open console no snapshots are made. A slow console misses snapshots, and no other console waits for it.
Payments do not wait either: the figures are sampled from metrics, from the cache and from the database's indexes.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec

from api import metrics
from api.cache_client import CacheClient
from api.console.pulse import Heart
from api.posting.policies import Policies
from polka.rules import overview
from polka.rules.liquidity import Figures
from polka.rules.money import EXPONENTS
from polka.rules.netting import Netting
from polka.rules.overview import Amount, Overview
from polka.rules.transactions import POLKA
from polka.store import clearing, database, exposures
from polka.store.database import Pool

log = logging.getLogger(__name__)

SNAPSHOT_SECONDS = 0.4
"""Between two snapshots."""
ANSWER_SECONDS = 1.0
"""The database's limit for one snapshot. After this time the snapshot has no figures of the database."""
STREAMS_MAX = 32
"""Open consoles of this process."""
PAYMENTS_SHOWN = 20
WINDOWS_SHOWN = 8

LATEST = """
SELECT id, version, status, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency,
       receiver_amount, receiver_currency, created_at
FROM transactions ORDER BY id DESC LIMIT $1
"""
NETTINGS = "SELECT * FROM window_netting WHERE window_id = ANY($1)"
BALANCES = "SELECT bank, balance FROM balances WHERE currency = $1 AND bank <> $2"


class Latest(msgspec.Struct, frozen=True):
    """One of the latest payments."""

    id: str
    version: int
    status: str
    sender_bank: str
    sender_account: str
    receiver_bank: str
    receiver_account: str
    amount: Amount
    currency: str
    receiver_amount: Amount | None
    receiver_currency: str | None
    created_at: datetime


class Saved(msgspec.Struct, frozen=True):
    """The savings of clearing in one currency of a window: see `polka.rules.netting.Netting`."""

    currency: str
    gross: Amount
    bilateral: Amount
    multilateral: Amount


class Cleared(msgspec.Struct, frozen=True):
    """One of the latest clearing windows. `netting` is empty until the computation."""

    id: int
    state: str
    opened_at: datetime
    closed_at: datetime | None
    settled_at: datetime | None
    scheduled_for: datetime | None
    netting: list[Saved]


class Records(msgspec.Struct, frozen=True):
    """The figures from the database."""

    payments: list[Latest]
    windows: list[Cleared]


class Snapshot(msgspec.Struct, frozen=True):
    """The console's content at one moment, in one currency. `api` is the name of the process. `records` is None if the
    database is down."""

    at: datetime
    api: str
    overview: msgspec.Raw
    records: Records | None


class Hello(msgspec.Struct, frozen=True):
    """The beginning of a stream: the digits of each currency's minor units, and whether drills are available here."""

    exponents: dict[str, int]
    drills: bool


class FullError(Exception):
    """Too many consoles are open here."""


class Feed:
    """One poller for all streams of this process."""

    def __init__(
        self, name: str, has_drills: bool, cache: CacheClient, pool: Pool, policies: Policies, heart: Heart
    ) -> None:
        self._name = name
        self._has_drills = has_drills
        self._cache = cache
        self._pool = pool
        self._policies = policies
        self._heart = heart
        self._watched: Counter[str | None] = Counter()
        self._is_watched = asyncio.Event()
        self._is_new = asyncio.Event()
        self._are_new = False  # a console has opened since the latest snapshot, and gets earlier lines
        self._events: dict[str | None, bytes] = {}

    async def events(self, currency: str | None, is_welcome: Callable[[], bool]) -> AsyncIterator[bytes]:
        """The newest snapshots as server-sent events, while the reader is welcome."""
        with self._watching(currency):
            self._are_new = True
            yield HELLO % msgspec.json.encode(Hello(EXPONENTS, self._has_drills))
            while is_welcome():
                await self._is_new.wait()
                if currency in self._events:
                    yield self._events[currency]

    def check_room(self) -> None:
        """Check that another console may be opened here.

        Raises:
            FullError: too many are open.
        """
        if self._watched.total() >= STREAMS_MAX:
            raise FullError

    @contextmanager
    def _watching(self, currency: str | None) -> Iterator[None]:
        self._watched[currency] += 1
        self._is_watched.set()
        metrics.CONSOLES.set(self._watched.total())
        try:
            yield
        finally:
            self._watched[currency] -= 1
            self._watched += Counter()  # removes unwatched currencies
            metrics.CONSOLES.set(self._watched.total())
            if not self._watched:
                self._is_watched.clear()

    async def run(self) -> None:
        """Make snapshots while a console is open, for ever."""
        while True:
            await self._is_watched.wait()
            began = time.monotonic()
            try:
                await self._show()
            except Exception:  # a failure of the console must not stop payments
                log.exception("a snapshot for the console could not be made")
            await asyncio.sleep(max(SNAPSHOT_SECONDS / 4, began + SNAPSHOT_SECONDS - time.monotonic()))

    async def _show(self) -> None:
        watched, with_lines, self._are_new = list(self._watched), self._are_new, False
        records = await self._records()
        self._events = {currency: event(await self._snapshot(currency, with_lines, records)) for currency in watched}
        is_new, self._is_new = self._is_new, asyncio.Event()
        is_new.set()

    async def _snapshot(self, currency: str | None, with_lines: bool, records: Records | None) -> Snapshot:
        seen = await self._cache.overview(currency, with_lines)
        if seen is None:
            seen = msgspec.json.encode(await self._without_cache(currency))
        return Snapshot(datetime.now(UTC), self._name, msgspec.Raw(seen), records)

    async def _without_cache(self, currency: str | None) -> Overview:
        """The figures from this process and the database."""
        now = time.monotonic()
        currencies, book = [], None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                found = await exposures.exposures(self._pool, 0)
                currencies = [one.currency for one in found.currencies]
                shown = overview.chosen(currency, currencies)
                held = await self._pool.fetch(BALANCES, shown, POLKA) if shown else []
        except database.ERRORS as error:
            database.report(log, "positions could not be read for the console", error)
        else:
            for one in found.currencies:
                if one.currency == shown:
                    book = overview.book(
                        shown,
                        found.as_of.flush,
                        Figures(one.owes, one.owed, one.held),
                        one.highest,
                        [(row["bank"], int(row["balance"]), None) for row in held],
                        self._policies.current.caps,
                    )
        return Overview(self._heart.own.rates(now), self._heart.own.heard(now), None, currencies, book)

    async def _records(self) -> Records | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return Records(
                    [latest_of(row) for row in await self._pool.fetch(LATEST, PAYMENTS_SHOWN)],
                    await self._windows(),
                )
        except database.ERRORS as error:
            database.report(log, "the database does not answer the console", error)
            return None

    async def _windows(self) -> list[Cleared]:
        windows = await clearing.windows(self._pool, None, WINDOWS_SHOWN)
        saved: dict[int, list[Saved]] = {window.id: [] for window in windows}
        for row in await self._pool.fetch(NETTINGS, list(saved)):
            saved[row["window_id"]].append(saved_of(clearing.netting_of(row)))
        return [
            Cleared(
                *(window.id, window.state, window.opened_at, window.closed_at, window.settled_at),
                window.scheduled_for,
                saved[window.id],
            )
            for window in windows
        ]


HELLO = b"retry: 500\nevent: hello\ndata: %b\n\n"
"""Of a stream. A browser whose stream ends reconnects after this number of milliseconds."""


def event(snapshot: Snapshot) -> bytes:
    return b"data: " + msgspec.json.encode(snapshot) + b"\n\n"


def latest_of(row: Any) -> Latest:
    amount = row["receiver_amount"]
    return Latest(
        **{name: row[name] for name in Latest.__struct_fields__ if name not in ("id", "amount", "receiver_amount")},
        id=str(row["id"]),
        amount=str(row["amount"]),
        receiver_amount=None if amount is None else str(amount),
    )


def saved_of(netting: Netting) -> Saved:
    return Saved(netting.currency, str(netting.gross), str(netting.bilateral), str(netting.multilateral))
