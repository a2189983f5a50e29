"""Connections to Postgres: every session is bounded in time, and a database that could lose a commit is refused."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import asyncpg

from polka.database_errors import ERRORS as ERRORS
from polka.database_errors import BusyError as BusyError
from polka.database_errors import UnreachableError as UnreachableError
from polka.database_errors import is_not_text as is_not_text
from polka.database_errors import is_passing as is_passing
from polka.database_errors import report as report
from polka.failure import Failure, NotYetFailure
from polka.migrations import REVISION
from polka.pools import Connection as Connection
from polka.pools import Pool as Pool

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
CONNECT_TIMEOUT_SECONDS = 5.0
RETRY_SECONDS = 0.5
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
    return await _connect(
        url,
        server_settings={**_session(purpose, statement_timeout_seconds), **(settings or {})},
        timeout=CONNECT_TIMEOUT_SECONDS,
    )


async def _connect(*arguments: Any, **options: Any) -> Connection:
    try:
        return await asyncpg.connect(*arguments, **options)
    except TimeoutError:
        raise
    except OSError as error:
        raise UnreachableError(str(error) or repr(error)) from error


@asynccontextmanager
async def pool(
    url: str,
    purpose: str,
    size: int,
    statement_timeout_seconds: float,
    settings: Mapping[str, str] | None = None,
    waiting_max: int = WAITING_MAX,
) -> AsyncIterator[Pool]:
    """Sessions for reads and for what is rare."""

    async def keep(_: Connection) -> None: ...

    opened = asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=statement_timeout_seconds + 1,
        server_settings={**_session(purpose, statement_timeout_seconds), **(settings or {})},
        reset=keep,
        connect=_connect,
    )
    async with opened:
        try:
            yield Pool(opened, waiting_max, statement_timeout_seconds + CONNECT_TIMEOUT_SECONDS)
        finally:
            opened.terminate()


def _session(purpose: str, statement_timeout_seconds: float) -> Mapping[str, str]:
    timeout = f"{int(statement_timeout_seconds * 1000)}ms"
    return SESSION | {"application_name": f"polka {purpose}", "statement_timeout": timeout}


@contextmanager
def bounded(connection: Connection, seconds: float) -> Iterator[None]:
    """Give what the block says to the server this long; past it the connection is cut, and the block fails."""
    timer = asyncio.get_running_loop().call_later(seconds, connection.terminate)
    try:
        yield
    finally:
        timer.cancel()


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
    reason = str(error) or type(error).__name__
    kind = Failure if isinstance(error, ValueError) else NotYetFailure  # a url that is wrong stays so
    return kind(f"The database does not answer: {reason.splitlines()[0]}")


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Connection]:
    """A session for a command.

    Raises:
        Failure: the database does not answer.
    """
    connection = await reach(url)
    try:
        yield connection
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
