"""Connections to Postgres: every session is bounded in time, and a database that could lose a commit is refused.

A commit that waits for a synchronous standby is never cancelled by Polka: the server would answer as if the commit were
replicated, with a warning alone.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg

from polka.service.failure import Failure, NotYetFailure
from polka.store import hosts
from polka.store.database_errors import ERRORS as ERRORS
from polka.store.database_errors import BusyError as BusyError
from polka.store.database_errors import StandbyError as StandbyError
from polka.store.database_errors import UnreachableError as UnreachableError
from polka.store.database_errors import UnreplicatedError as UnreplicatedError
from polka.store.database_errors import is_not_text as is_not_text
from polka.store.database_errors import is_passing as is_passing
from polka.store.database_errors import report as report
from polka.store.migrations import REVISION
from polka.store.pools import Connection as Connection
from polka.store.pools import Pool as Pool
from polka.store.watched import bounded as bounded
from polka.store.watched import cut as cut
from polka.store.watched import watched as watched

T = TypeVar("T")

VERSION_MIN = 15

SESSION = {
    "timezone": "UTC",
    "default_transaction_isolation": "read committed",
    # A holder of locks that died without a word, or that nobody hears any more, is gone within seconds.
    "idle_in_transaction_session_timeout": "5s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
    "client_connection_check_interval": "2s",
    "lock_timeout": "4s",
}
RETRY_SECONDS = 0.5
ERRNO, NO_SOCKET = re.compile(r"^\[Errno -?\d+\] "), "No such file or directory"
WAITING_MAX = 1024
"""How many calls may wait for a connection of a pool."""


async def connect(
    url: str, purpose: str, statement_timeout_seconds: float = 0, settings: Mapping[str, str] | None = None
) -> Connection:
    """One session of our own; `purpose` shows as its application name. A timeout of 0 is none.

    Raises:
        UnreachableError: no server can be reached.
        TimeoutError: a server did not answer in time.
        asyncpg.PostgresError: the server refuses the session.
    """
    return await hosts.connect(
        url, server_settings={**_session(purpose, statement_timeout_seconds), **(settings or {})}
    )


@asynccontextmanager
async def pool(
    url: str,
    purpose: str,
    size: int,
    statement_timeout_seconds: float,
    settings: Mapping[str, str] | None = None,
    waiting_max: int = WAITING_MAX,
) -> AsyncIterator[Pool]:
    """Sessions for reads alone: one that takes too long is cancelled, which a write must never be (see `Writers`)."""
    session = {**_session(purpose, statement_timeout_seconds), **(settings or {})}
    async with _pool(url, size, session, statement_timeout_seconds + 1) as opened:
        yield Pool(opened, waiting_max, statement_timeout_seconds + hosts.CONNECT_TIMEOUT_SECONDS)


@asynccontextmanager
async def writing_pool(url: str, purpose: str, size: int, statement_timeout_seconds: float) -> AsyncIterator[Pool]:
    """Sessions for `Writers`."""
    async with _pool(url, size, _session(purpose, statement_timeout_seconds), None) as opened:
        yield Pool(opened, WAITING_MAX, statement_timeout_seconds + hosts.CONNECT_TIMEOUT_SECONDS)


@asynccontextmanager
async def _pool(
    url: str, size: int, session: Mapping[str, str], command_timeout_seconds: float | None
) -> AsyncIterator[asyncpg.Pool]:
    async def keep(_: Connection) -> None: ...

    opened = asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size,
        connect=hosts.connect,
        command_timeout=command_timeout_seconds,
        server_settings=dict(session),
        reset=keep,
    )
    async with opened:
        try:
            yield opened
        finally:
            opened.terminate()


def _session(purpose: str, statement_timeout_seconds: float) -> Mapping[str, str]:
    timeout = f"{int(statement_timeout_seconds * 1000)}ms"
    return SESSION | {"application_name": f"polka {purpose}", "statement_timeout": timeout}


async def check(url: str, allow_lossy: bool = False) -> str:
    """See that the database can be reached, keeps what it commits, and has the tables that this Polka needs; the
    revision of its schema.

    Raises:
        NotYetFailure: it does not answer, or has an older schema.
        Failure: it could lose what it commits, or the url is none.
    """
    connection = await reach(url)
    try:
        await check_durable(connection, allow_lossy)
        revision = await revision_of(connection)
    except ERRORS as error:
        raise no_answer(error) from error
    finally:
        connection.terminate()
    if revision is None or revision < REVISION:
        raise NotYetFailure(
            f"The database has schema revision {revision or 'none'}, this Polka needs {REVISION}: run `polka migrate`."
        )
    return revision


async def patiently(attempt: Callable[[], Awaitable[T]], seconds: float, say: Callable[[str], None]) -> T:
    """What the attempt gives, made again and again for this long while it is too early; says why, once each reason.

    Raises:
        Failure: that of the last attempt.
    """
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds
    said = None
    while True:
        try:
            return await attempt()
        except NotYetFailure as failure:
            if loop.time() + RETRY_SECONDS > ends_at:
                raise
            if str(failure) != said:
                said = str(failure)
                say(f"Waiting: {said}")
        await asyncio.sleep(RETRY_SECONDS)


async def reach(url: str) -> Connection:
    """A session, or a Failure that says in one line why there is none."""
    try:
        return await connect(url, "command")
    except (*ERRORS, ValueError) as error:
        raise no_answer(error) from error


def no_answer(error: Exception) -> Failure:
    if isinstance(error, StandbyError):
        return NotYetFailure(str(error))
    reason = unusable_url(error) if isinstance(error, ValueError) else fact(error)
    kind = Failure if isinstance(error, ValueError) else NotYetFailure  # a url that is wrong stays so
    return kind(f"The database does not answer: {reason.splitlines()[0]}")


def fact(error: Exception) -> str:
    """The fact that an error reports, without the number that the system has for it."""
    said = ERRNO.sub("", str(error))
    return "no server is there" if said == NO_SOCKET else said or type(error).__name__


def unusable_url(error: ValueError) -> str:
    """Why the URL is none. What it holds is not repeated, because a part of a password may be taken for anything."""
    if isinstance(error, asyncpg.ClientConfigurationError):
        return re.split(r",? got |: ['\"]", str(error))[0]
    return "the URL is not valid: in a user, password or name, `: / ? # @ %` are written as %3A %2F %3F %23 %40 %25"


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Connection]:
    """A session for a command.

    Raises:
        Failure: the database does not answer, or may lose what was written in a failover.
    """
    connection = await reach(url)
    try:
        with watched(connection):
            yield connection
    except UnreplicatedError as error:
        raise Failure(f"What was written may not be replicated: {error}") from error
    finally:
        await connection.close()


async def check_durable(connection: Connection, allow_lossy: bool) -> None:
    version = connection.get_server_version().major
    if version < VERSION_MIN:
        raise Failure(f"The database is PostgreSQL {version}; Polka needs {VERSION_MIN} or later.")
    lossy = [name for name in ("fsync", "synchronous_commit") if await connection.fetchval(f"SHOW {name}") == "off"]
    if lossy and not allow_lossy:
        raise Failure(
            f"The database has {' and '.join(lossy)} off: it could lose payments that it has confirmed. "
            "POLKA_ALLOW_LOSSY_DATABASE=true takes it for play."
        )


async def revision_of(connection: Connection) -> str | None:
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    return revision


def reason(error: asyncpg.PostgresError) -> str:
    """Why the database refuses a statement, without the values in it, which its own message may have."""
    return f"{type(error).__name__} {error.sqlstate}, {error.constraint_name or 'no constraint'}"


def failed_for_sure(error: BaseException) -> bool:
    """Whether the server itself said that the statement failed, so that nothing of it can have been committed.

    A FATAL (the server is stopping) may come after the commit it interrupts, and a broken connection or a
    timeout of ours says nothing at all.
    """
    return isinstance(error, asyncpg.PostgresError) and getattr(error, "severity_en", None) == "ERROR"
