"""Connections to Postgres. Every session has time limits, and a database that could lose a commit is rejected.

Polka never cancels a commit that waits for a synchronous standby. The server would answer as if the commit were
replicated, with only a warning.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg

from polka.rules import facts
from polka.service.failure import Failure, NotYetFailure
from polka.store import hosts
from polka.store.database_errors import ERRORS as ERRORS
from polka.store.database_errors import NUL as NUL
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
    # A dead or unreachable holder of locks is gone within seconds.
    "idle_in_transaction_session_timeout": "5s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
    "client_connection_check_interval": "2s",
    "lock_timeout": "4s",
}
RETRY_SECONDS = 0.5
NO_SOCKET = "No such file or directory"
REFUSED = re.compile(r"Connect call failed \('([^']+)', (\d+)[^)]*\)")
URL_ADVICE = "--database-url or POLKA_DATABASE_URL must be as postgresql://polka@127.0.0.1:5432/polka."
WAITING_MAX = 1024
"""The number of calls that may wait for a connection of a pool."""


async def connect(
    url: str, purpose: str, statement_timeout_seconds: float = 0, settings: Mapping[str, str] | None = None
) -> Connection:
    """A session of our own. `purpose` becomes its application name. A timeout of 0 means no timeout.

    Raises:
        UnreachableError: no server is reachable.
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
    """Sessions only for reads. A slow read is cancelled. A write must never be cancelled (see `Writers`)."""
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
    """Check that the database is reachable, durable, and has the tables that this Polka needs. Returns the revision of
    the schema.

    Raises:
        NotYetFailure: the database is unavailable, or has an older schema.
        Failure: the database could lose commits, or the URL is invalid.
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
    """The result of the attempt, which is repeated for this long while it is too early. Each reason is reported once.

    Raises:
        Failure: the failure of the last attempt.
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
    """A session. Otherwise a Failure gives the reason in one line."""
    try:
        return await connect(url, "command")
    except (*ERRORS, ValueError) as error:
        raise no_answer(error) from error


def no_answer(error: Exception) -> Failure:
    if isinstance(error, ValueError):
        return Failure(f"The database URL is not valid: {unusable_url(error)}. {URL_ADVICE}")
    if isinstance(error, StandbyError):
        return NotYetFailure(str(error))
    return NotYetFailure(f"The database does not answer: {fact(error).splitlines()[0]}")


def fact(error: Exception) -> str:
    """The fact in an error of the database, for people."""
    said = REFUSED.sub(r"no server listens on \1:\2", facts.fact(error))
    return "no server is there" if said == NO_SOCKET else said


def unusable_url(error: ValueError) -> str:
    """The reason why the URL is invalid. The message quotes no part of the URL, because any part may belong to a
    password."""
    if isinstance(error, asyncpg.ClientConfigurationError):
        return re.split(r",? got |: ['\"]", str(error).removeprefix("invalid DSN: ").splitlines()[0])[0]
    return "in a user, password or name, `: / ? # @ %` are written as %3A %2F %3F %23 %40 %25"


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Connection]:
    """A session for a command.

    Raises:
        Failure: the database is unavailable, or a failover may lose the written rows.
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
    """The database's reason for refusing a statement, without values. The database's own message may contain values."""
    return f"{type(error).__name__} {error.sqlstate}, {error.constraint_name or 'no constraint'}"


def failed_for_sure(error: BaseException) -> bool:
    """Whether the server itself reported the failure of the statement. Then no part of it is committed.

    A FATAL error (the server is stopping) may follow a successful commit. A broken connection, or a timeout of ours,
    leaves the outcome open.
    """
    return isinstance(error, asyncpg.PostgresError) and getattr(error, "severity_en", None) == "ERROR"
