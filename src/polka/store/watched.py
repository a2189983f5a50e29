"""Blocks of statements with a time limit. Their commits count only if replicated.

Every payment's commit runs here. Therefore these are classes with slots and not generators, and a long-lived session
gets its listener once.
"""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from polka.store.database_errors import UnreachableError, UnreplicatedError
from polka.store.pools import Connection

HEARD: WeakKeyDictionary[Connection, list[str]] = WeakKeyDictionary()
"""The warnings that each session has received about commits with an unfinished wait for a standby."""


class watched:  # noqa: N801  # used as a function
    """Check that the block's commits are replicated, if the database waits for standbys.

    The connection is cut if the block is cancelled. The connection is also cut if its server has become read-only,
    because the next connection finds the writable server.

    Raises:
        UnreplicatedError: the wait of a commit was cancelled.
        UnreachableError: the connection was cut between two steps of a statement.
    """

    __slots__ = ("_before", "_connection", "_heard", "_listener")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._listener: Any = None

    def __enter__(self) -> None:
        connection = self._connection
        if isinstance(connection, PoolConnectionProxy):  # a pool takes back no session that has listeners
            self._heard: list[str] = []
            self._listener = listener(self._heard)
            connection.add_log_listener(self._listener)
        elif (heard := HEARD.get(connection)) is not None:
            self._heard = heard
        else:
            self._heard = HEARD[connection] = []
            connection.add_log_listener(listener(self._heard))
        self._before = len(self._heard)

    @property
    def is_unreplicated(self) -> bool:
        return len(self._heard) > self._before

    def __exit__(self, _: Any, error: BaseException | None, __: TracebackType | None) -> None:
        if self._listener is not None:
            with suppress(asyncpg.InterfaceError):
                self._connection.remove_log_listener(self._listener)
        if error is not None and self._stands(error):
            return
        if self.is_unreplicated:
            cut(self._connection)
            raise UnreplicatedError(self._heard[-1]) from error

    def _stands(self, error: BaseException) -> bool:
        """Whether the error is raised unchanged, regardless of the session's warnings."""
        if isinstance(error, (asyncio.CancelledError, TimeoutError)):
            cut(self._connection)  # at once: asyncpg is about to cancel the statement on the server
            return True
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            cut(self._connection)
        is_cut = isinstance(error, AttributeError) and self._connection.is_closed()
        if is_cut and not self.is_unreplicated:  # asyncpg goes on without its protocol
            raise UnreachableError("the connection was cut") from error
        return not isinstance(error, Exception)


class bounded(watched):  # noqa: N801  # used as a function
    """Like `watched`, with a time limit for the block. After the limit the connection is cut, and the block fails."""

    __slots__ = ("_seconds", "_timer")

    def __init__(self, connection: Connection, seconds: float) -> None:
        super().__init__(connection)
        self._seconds = seconds

    def __enter__(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, cut, self._connection)
        try:
            super().__enter__()
        except BaseException:
            self._timer.cancel()
            raise

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        self._timer.cancel()
        super().__exit__(kind, error, trace)


def listener(heard: list[str]) -> Any:
    def hear(_: Connection, message: asyncpg.PostgresLogMessage) -> None:
        if is_cancelled_wait(message):
            heard.append(str(message))

    return hear


def cut(connection: Connection) -> None:
    """Close the connection without a message to the server."""
    with suppress(asyncpg.InterfaceError):  # a pool takes cut connections back, and then forbids their use
        connection.terminate()


def is_cancelled_wait(message: asyncpg.PostgresLogMessage) -> bool:
    """Whether the server reports a commit with an unfinished wait for its standby. The message may be translated."""
    return bool(message.severity_en == "WARNING" and message.server_source_function == "SyncRepWaitForLSN")
