"""The errors of database calls, and whether the same call may work again without help.

Polka waits for a database that is down, busy or switching over. Every other error is a mistake (a missing column, a
missing permission, a value that no check caught). Retrying does not help, and the log needs the traceback.
"""

import logging
from typing import Any

import asyncpg


class UnreachableError(Exception):
    """There is no connection to the database."""


class StandbyError(UnreachableError):
    """A server answers, but accepts no writes."""


class UnreplicatedError(Exception):
    """A commit returned, but its wait for a synchronous standby was cancelled. A failover may lose the commit."""


class BusyError(UnreachableError):
    """Too many requests wait for a connection of the pool. Nothing was begun."""


ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    UnreachableError,
    UnreplicatedError,
    TimeoutError,
)
"""All errors of database calls. `OSError` is not included, because files raise it too.

asyncpg raises an internal error when the server goes down in the middle of an answer.
"""

PASSING_CLASSES = ("08", "40", "53", "55", "57", "58")
"""SQLSTATE classes of passing failures: connections, conflicts, resources, locks, shutdowns, the system."""
PASSING_CODES = ("25006", "25P03", "28000", "28P01", "3D000")
"""The same for single errors: a read-only server, an ended idle transaction, missing credentials or a missing
database."""
NOT_TEXT = ("22021", "22P05")
"""SQLSTATEs of text that the database cannot store, for example a NUL."""
NUL = "A value contains a NUL character, which is not allowed."
"""The answer to a request with such a text."""
STALE_POLICY = "PK001"
"""The SQLSTATE of a commit that was decided under another version of the policy than the version in force.

The code never changes, because Polka's functions in the database raise it.
"""
OUTDATED_EPOCH = "PK002"
"""The same for a commit with a reservation of an earlier cache."""
OUTDATED_KEYS = "PK003"
"""The same for a statement with idempotency keys of an earlier generation."""


def is_passing(error: BaseException) -> bool:
    """Whether the same call may work later without help."""
    if isinstance(error, asyncpg.PostgresError):
        code = str(error.sqlstate or "")
        return code[:2] in PASSING_CLASSES or code in PASSING_CODES
    return isinstance(error, ERRORS) and not isinstance(error, ValueError)  # a wrong configuration is a ValueError


def is_not_text(error: BaseException) -> bool:
    """Whether a value has a character that the database cannot store."""
    return getattr(error, "sqlstate", None) in NOT_TEXT


def report(log: logging.Logger, what: str, error: BaseException, **named: Any) -> None:
    """Log a failed call: a passing failure in one line, other failures with a traceback. `named` are extra fields."""
    if is_passing(error):
        log.warning(f"{what}: %r", error, extra=named, stacklevel=2)
    else:
        log.error(what, exc_info=error, extra=named, stacklevel=2)
