"""The api's way to the cache: reports batches and asks for positions. The api goes on without the cache."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx
import msgspec

from api import metrics
from api.cache_wire import Reply, Wire
from api.settings import Settings
from polka.edge import tls
from polka.rules.messages import Asking, Reserved, Telling
from polka.rules.pulses import Pulse
from polka.rules.windows import Conflict
from polka.service import traces
from polka.service.logs import request_id

log = logging.getLogger(__name__)

T = TypeVar("T")
Answer = httpx.Response | Reply

UNTOLD_MAX = 64
"""Batches that wait for a report: more than one call to the cache can leave behind."""
ORDER_SHARE = 0.9
"""Of a request's time limit. An order ends before the request's deadline, because its failure is more precise than a
timeout."""
GLANCE_SECONDS = 0.5
"""The limit of a call for figures that are polled several times a second."""


class Silence(Enum):
    """The meaning of a missing answer of the cache."""

    NOT_BEGUN = "it has not begun, and will not"
    UNKNOWN = "it may have done it, or may do it soon"


class CacheClient:
    """Calls with limits of time and connections. No call raises an exception because the cache is down.

    Orders go by httpx, because they may not be repeated. All other calls take the wire.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        wire: Wire,
        spacing_seconds: float,
        order_seconds: float,
    ) -> None:
        self._client = client
        self._wire = wire
        self._spacing_seconds = spacing_seconds
        self._patience = f"{(client.timeout.read or 0) * 1000:.0f}ms"
        self._order_timeout = httpx.Timeout(order_seconds, connect=client.timeout.connect)
        self._untold: deque[tuple[Telling, Any]] = deque(maxlen=UNTOLD_MAX)
        self._telling: asyncio.Task[None] | None = None

    def tell(self, batch: Telling) -> None:
        """Report a batch to the cache beside its commit: at once, or with the next POST if a call is in flight.

        Reports only keep balances fresh, because the batch's row is the truth. While the cache is down, the oldest
        reports are dropped.
        """
        if len(self._untold) == UNTOLD_MAX:
            metrics.UNTOLD.inc()
        self._untold.append((batch, traces.current()))
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        while self._untold:
            began = time.perf_counter()
            batches = [batch for batch, _ in self._untold]
            spans = [span for _, span in self._untold]
            self._untold.clear()
            try:
                with traces.call("POST /balance", spans):
                    response = await self._post(b"/balance", encode(batches))
            except httpx.HTTPError as error:
                metrics.TELLS.labels(type(error).__name__).inc()
                log.warning("the cache does not answer: %r", error)
            else:
                metrics.TELL_SECONDS.observe(time.perf_counter() - began)
                metrics.TELLS.labels(str(response.status_code)).inc()
            await asyncio.sleep(max(0.0, began + self._spacing_seconds - time.perf_counter()))

    async def reserve(self, asking: Asking) -> Reserved | None:
        """Reserve room under caps; None if the cache is down. A repeated request gets the same answer."""
        began = time.perf_counter()
        try:
            response = await self._post(b"/balance/reservation", encode(asking))
        except httpx.HTTPError as error:
            metrics.ASKS.labels(type(error).__name__).inc()
            log.warning("the cache does not answer: %r", error)
            return None
        metrics.ASK_SECONDS.observe(time.perf_counter() - began)
        metrics.ASKS.labels(str(response.status_code)).inc()
        return said(response, Reserved)

    async def _post(self, path: bytes, content: bytes) -> Reply:
        return await self._wire.post(path, content, traces.raw_headers())

    async def ask(self, path: str, params: Mapping[str, str | int] | None = None) -> bytes | None:
        """The cache's answer, a JSON object; None if the cache is down."""
        headers = of_request() | {"Request-Timeout": self._patience}
        try:
            response = await self._wire.get(target(path, params), encoded(headers))
        except httpx.HTTPError as error:
            log.warning("the cache does not answer: %r", error)
            return None
        return None if said(response, Object) is None else response.content

    async def tell_pulse(self, pulse: Pulse) -> None:
        """Report to the cache that this process is alive. A lost pulse does no harm."""
        with contextlib.suppress(httpx.HTTPError):
            await self._post(b"/pulse", encode(pulse))

    async def overview(self, currency: str | None, with_lines: bool) -> bytes | None:
        """The cache's view of all processes and of positions in the currency, as JSON; None if the cache is down."""
        params = {"currency": currency} if currency else {}
        if with_lines:
            params["lines"] = "true"
        try:
            response = await self._wire.get(target("/overview", params), seconds=GLANCE_SECONDS)
        except httpx.HTTPError:
            return None
        return None if said(response, Object) is None else response.content

    async def order(self, path: str, done: type[T], body: msgspec.Struct | None = None) -> T | Conflict | Silence:
        """Order work from the cache: the result, or a conflict, or the certainty about an order without an answer."""
        try:
            content = encode(body) if body else None
            headers = JSON | of_request()
            response = await self._client.post(path, content=content, headers=headers, timeout=self._order_timeout)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            log.warning("the cache does not answer: %r", error)
            return Silence.NOT_BEGUN
        except httpx.HTTPError as error:
            log.warning("the cache did not say what it has done: %r", error)
            return Silence.UNKNOWN
        match response.status_code:
            case 200:
                return readable(response, done) or Silence.UNKNOWN
            case 409:
                return readable(response, Conflict) or Silence.UNKNOWN
            case 500:
                return Silence.UNKNOWN
            case _:  # starting, rejects our token, or older than this request
                has_taken(response)
                return Silence.NOT_BEGUN


def of_request() -> dict[str, str]:
    """Headers that link a call to its request in the cache's log."""
    known = request_id.get(None)
    return {"X-Request-ID": known, **traces.headers()} if known else {}


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def target(path: str, params: Mapping[str, str | int] | None) -> bytes:
    return f"{path}?{urlencode(params)}".encode() if params else path.encode()


def has_taken(response: Answer) -> bool:
    """Whether the cache has accepted our token. A rejection is logged, because the configuration is at fault."""
    if response.status_code == 401:
        log.error("the cache does not take our token: see that POLKA_CACHE_TOKEN is the same for both")
    return response.status_code != 401


def said(response: Answer, kind: type[T]) -> T | None:
    """The answer of a serving cache; None if the cache counts as unavailable."""
    return readable(response, kind) if has_taken(response) and response.is_success else None


def readable(response: Answer, kind: type[T]) -> T | None:
    """The answer; None if it is invalid, as from another program."""
    try:
        return msgspec.json.decode(response.content, type=kind)
    except (ValueError, RecursionError) as error:
        log.warning("the cache's answer cannot be read: %s", error)
        return None


encode = msgspec.json.Encoder().encode
Object = dict[str, msgspec.Raw]
"""The type of all answers to `ask`."""
JSON = {"Content-Type": "application/json"}


@asynccontextmanager
async def connect(settings: Settings, tls_settings: tls.CacheSettings) -> AsyncIterator[CacheClient]:
    """The way to the cache, encrypted if the cache's URL is https.

    Raises:
        Failure: a TLS file is invalid.
    """
    encryption = tls.to_cache(settings.cache_url, tls_settings)
    timeout = httpx.Timeout(settings.cache_timeout_seconds, connect=settings.cache_connect_timeout_seconds)
    limits = httpx.Limits(
        max_connections=settings.cache_connections_max,
        max_keepalive_connections=settings.cache_connections_max,
    )
    client = httpx.AsyncClient(
        base_url=settings.cache_url,
        headers={"Authorization": f"Bearer {settings.cache_token}"} if settings.cache_token else None,
        timeout=timeout,
        limits=limits,
        verify=encryption or tls.verifies(settings.cache_url),
        trust_env=False,
    )
    wire = Wire(
        settings.cache_url,
        settings.cache_token,
        settings.cache_timeout_seconds,
        settings.cache_connect_timeout_seconds,
        encryption,
        settings.cache_connections_max,
    )
    async with client, tls.watched(encryption):
        try:
            yield CacheClient(
                client, wire, settings.cache_spacing_seconds, ORDER_SHARE * settings.request_timeout_seconds
            )
        finally:
            wire.close()
