"""Blocks of statements that end in time, and whose commits count only if they are replicated.

Every payment's commit passes here, so these are classes with slots and not generators, and a session that lives long
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
"""What each session of its own has heard of commits that did not wait for a standby to the end."""


class watched:  # noqa: N801  # used as a function
    """See that what the block commits is replicated, where the database waits for standbys.

    The connection is cut where the block is cancelled. It is cut too when its server has become read-only: the next
    one finds the server that is not.

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
        """Whether the error says all there is to say, whatever the session heard."""
        if isinstance(error, (asyncio.CancelledError, TimeoutError)):
            cut(self._connection)  # at once: asyncpg is about to have the server cancel what it waits for
            return True
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            cut(self._connection)
        is_cut = isinstance(error, AttributeError) and self._connection.is_closed()
        if is_cut and not self.is_unreplicated:  # asyncpg goes on without its protocol
            raise UnreachableError("the connection was cut") from error
        return not isinstance(error, Exception)


class bounded(watched):  # noqa: N801  # used as a function
    """As `watched`, and give the block's statements this long: past it the connection is cut, and the block fails."""

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
    """Close the connection without a word to the server."""
    with suppress(asyncpg.InterfaceError):  # a pool takes back what is cut, and then allows no use of it
        connection.terminate()


def is_cancelled_wait(message: asyncpg.PostgresLogMessage) -> bool:
    """Whether the server reports a commit that did not wait for its standby to the end. Its text may be translated."""
    return bool(message.severity_en == "WARNING" and message.server_source_function == "SyncRepWaitForLSN")
