"""Connects to a database that accepts writes, also if its URL lists several hosts.

asyncpg tries the hosts of a list one after the other. A silent host would delay the others.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

from polka.store.database_errors import StandbyError, UnreachableError

CONNECT_TIMEOUT_SECONDS = 5.0
HOST_TIMEOUT_SECONDS = 1.5
"""For each host of a list."""

Attempt: TypeAlias = asyncio.Task[asyncpg.Connection]


async def connect(url: str, **options: Any) -> asyncpg.Connection:
    """A session on the server that accepts writes. All hosts of a list are tried at once, and the first success wins.

    The options are those of `asyncpg.connect`.

    Raises:
        UnreachableError: no server is reachable.
        StandbyError: a server answers, and no server accepts writes.
        TimeoutError: a server did not answer in time.
        asyncpg.PostgresError: a server refuses the session.
        ValueError: the URL is invalid.
    """
    urls = urls_of_hosts(url)
    if len(urls) == 1:
        return await _connect(url, CONNECT_TIMEOUT_SECONDS, options)
    attempts = [asyncio.create_task(_connect(one, HOST_TIMEOUT_SECONDS, options)) for one in urls]
    winner = None
    try:
        winner = await _first(attempts)
        return winner.result()
    finally:
        for attempt in attempts:
            if attempt is not winner:
                attempt.cancel()
                attempt.add_done_callback(_abandon)


async def _connect(url: str, timeout_seconds: float, options: dict[str, Any]) -> asyncpg.Connection:
    writable = {"timeout": timeout_seconds, "target_session_attrs": "read-write"}
    try:
        return await asyncpg.connect(url, **{**options, **writable})
    except asyncpg.TargetServerAttributeNotMatched:
        raise StandbyError("The database is a standby, or read-only: it accepts no writes.") from None
    except TimeoutError:
        raise
    except OSError as error:
        raise UnreachableError(str(error) or repr(error)) from error


async def _first(attempts: Iterable[Attempt]) -> Attempt:
    """The first successful attempt.

    Raises:
        Exception: every attempt failed. An answer of a server is preferred to the silence of another server.
    """
    waiting = set(attempts)
    errors: list[BaseException] = []
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for attempt in done:
            if (error := attempt.exception()) is None:
                return attempt
            errors.append(error)
    raise min(errors, key=lambda error: type(error) in (TimeoutError, UnreachableError))


def _abandon(attempt: Attempt) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()


def urls_of_hosts(url: str) -> list[str]:
    """A URL for each host in the URL, in its authority (`h1:5432,h2`) or as parameters (`?host=h1,h2`)."""
    parts = urlsplit(url)
    login, at, listed = parts.netloc.rpartition("@")
    if listed:
        return [parts._replace(netloc=f"{login}{at}{host}").geturl() for host in listed.split(",")]
    parameters = dict(parse_qsl(parts.query))
    hosts, ports = (parameters.get(name, "").split(",") for name in ("host", "port"))
    if len(hosts) == 1 or len(ports) not in (1, len(hosts)):
        return [url]  # asyncpg reports invalid lists
    before = url.partition("?")[0]
    pairs = zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=True)
    queries = [parameters | {"host": host} | ({"port": port} if port else {}) for host, port in pairs]
    return [f"{before}?{urlencode(query)}" for query in queries]
