"""Fetches the exchange rates. Stores rates that may follow the last ones; after anything else the last rates stay in
force.

The publisher may be slow, down or wrong, and may send any bytes. The ledger is never affected.
"""

import asyncio
import logging
import math
import random
import time
from datetime import UTC, date, datetime
from urllib.parse import urlsplit

import httpx
import msgspec

from cache import metrics
from cache.settings import Settings
from polka import __version__
from polka.rules import ecb, rates
from polka.rules.facts import fact
from polka.rules.rates import Source, UnfitError
from polka.store import advisory_locks, database, rate_sets
from polka.store.database import Connection

log = logging.getLogger(__name__)

BYTES_MAX = 64 * 1024
"""The document of a day has less than two thousand bytes."""
ETAG_LENGTH_MAX = 256
RETRY_SECONDS_MIN = 5.0
UNREACHABLE = "unreachable"


class Document(msgspec.Struct, frozen=True):
    """The content of a document, and the tag for asking whether the document has changed."""

    content: bytes
    etag: str | None


class FetchError(Exception):
    """No document was received. `reason` is the label in the metric, and the message is the fact."""

    def __init__(self, reason: str, fact: str) -> None:
        super().__init__(fact)
        self.reason = reason


class Refresher:
    """Fetches the rates by schedule."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._etag: str | None = None
        """The tag of the last accepted document."""
        self._told: str | None = None
        """The reason of the last fetch's failure, if it failed. A repeated reason is logged once, not at each
        attempt."""
        self._date: date | None = None
        metrics.RATES_AGE_SECONDS.set_function(self._age_seconds)

    async def run(self) -> None:
        """Fetch for ever, if `rates_url` is set. Failures are retried after growing pauses."""
        if not self._settings.rates_url:
            return
        async with httpx.AsyncClient(
            timeout=self._settings.rates_timeout_seconds, headers={"User-Agent": f"polka/{__version__}"}
        ) as client:
            failures = 0
            while True:
                outcome, is_well = await self._attempt(client)
                metrics.RATES_FETCHES.labels(outcome).inc()
                failures = 0 if is_well else failures + 1
                longest = pause_seconds(failures, self._settings.rates_refresh_seconds)
                await asyncio.sleep(longest * random.uniform(0.5, 1))  # noqa: S311  # spreads the requests of all caches

    async def _attempt(self, client: httpx.AsyncClient) -> tuple[str, bool]:
        """The outcome as the metric's label, and whether the fetch was successful."""
        try:
            outcome = await self._refresh(client)
        except FetchError as error:
            if error.reason != self._told:
                level = logging.INFO if error.reason == UNREACHABLE else logging.WARNING  # a laptop may well be offline
                log.log(level, "no exchange rates are fetched, those of %s stay in force: %s", self._date, error)
            self._told = error.reason
            return error.reason, False
        except UnfitError as error:
            log.warning("the exchange rates that were fetched are not taken, those of %s stay: %s", self._date, error)
            return error.reason.value, False
        except database.ERRORS as error:
            database.report(log, "no exchange rates are fetched", error)
            return "database_away" if database.is_passing(error) else "failed", False
        except Exception:  # the ledger must survive any failure of the rates
            log.exception("no exchange rates are fetched")
            return "failed", False
        self._told = None
        return outcome, True

    async def _refresh(self, client: httpx.AsyncClient) -> str:
        seconds = self._settings.flush_timeout_seconds
        connection = await database.connect(self._settings.database_url, "cache rates", seconds)
        try:
            with database.bounded(connection, seconds + self._settings.rates_timeout_seconds):
                if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", advisory_locks.RATES):
                    return "elsewhere"
                return await self._fetch(client, connection)
        finally:
            connection.terminate()

    async def _fetch(self, client: httpx.AsyncClient, connection: Connection) -> str:
        newest = await rate_sets.in_force(connection)
        last = newest.stored.rates if newest.stored else None
        self._date = last.date if last else None
        document = await fetch(client, self._settings.rates_url, self._settings.rates_timeout_seconds, self._etag)
        if document is None:
            return "unchanged"
        fetched = ecb.read(document.content)
        rates.check(fetched, last, newest.today, self._settings.rates_change_limit_percent)
        is_new = fetched != last or (newest.stored is not None and newest.stored.source is Source.RECORDED)
        if is_new:
            await rate_sets.store(connection, fetched, Source.FETCHED)
            log.info("exchange rates of %s are stored", fetched.date)
        self._etag, self._date = document.etag, fetched.date
        return "stored" if is_new else "unchanged"

    def _age_seconds(self) -> float:
        """Since the midnight (UTC) at which the day of the newest rates began."""
        if self._date is None:
            return math.nan
        began = datetime.combine(self._date, datetime.min.time(), UTC)
        return time.time() - began.timestamp()


async def fetch(client: httpx.AsyncClient, url: str, timeout_seconds: float, etag: str | None) -> Document | None:
    """The document at the address; None if the document still has this tag.

    Raises:
        FetchError: no complete document was received in time.
    """
    # Uncompressed, so that decoding cannot exceed the bytes that were sent.
    headers = {"Accept-Encoding": "identity"} | ({"If-None-Match": etag} if etag else {})
    try:
        async with asyncio.timeout(timeout_seconds), client.stream("GET", url, headers=headers) as response:
            if response.status_code == 304 and etag:
                return None
            if response.status_code != 200:
                raise FetchError("status", f"the answer's status is {response.status_code}")
            content = await read(response)
    except TimeoutError:
        raise FetchError(UNREACHABLE, f"there was no whole answer within {timeout_seconds} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise FetchError(UNREACHABLE, f"{host_of(url)} is not reachable ({fact(error)})") from error
    tag = response.headers.get("etag", "")
    return Document(content, tag if tag.isascii() and 0 < len(tag) <= ETAG_LENGTH_MAX else None)


def host_of(url: str) -> str:
    return urlsplit(url).hostname or "the publisher"


async def read(response: httpx.Response) -> bytes:
    content = b""
    async for part in response.aiter_raw():
        content += part
        if len(content) > BYTES_MAX:
            raise FetchError("too_large", f"the document has more than {BYTES_MAX} bytes")
    return content


def pause_seconds(failures: int, refresh_seconds: float) -> float:
    """The longest pause after this number of failures in a row."""
    if not failures:
        return refresh_seconds
    return min(refresh_seconds, RETRY_SECONDS_MIN * 2.0 ** min(failures - 1, 20))
