"""What talking to the database may raise, and whether it may work again by itself.

A database that is down, busy or switching over is waited for. Everything else is a mistake (a missing column, a missing
permission, a value that no check caught): trying again does not help, and the log needs the traceback.
"""

import logging
from typing import Any

import asyncpg


class UnreachableError(Exception):
    """There is no connection to the database."""


class StandbyError(UnreachableError):
    """A server answers, but accepts no writes."""


class UnreplicatedError(Exception):
    """A commit returned, but its wait for a synchronous standby was cancelled: a failover may lose it."""


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
"""Everything that a call to the database may raise. An `OSError` is not among these: files raise it, too.

An internal error of asyncpg is what it raises when the server goes down in the middle of an answer.
"""

PASSING_CLASSES = ("08", "40", "53", "55", "57", "58")
"""SQLSTATE classes of what may pass by itself: connections, conflicts, resources, locks, shutdowns, the system."""
PASSING_CODES = ("25006", "25P03", "28000", "28P01", "3D000")
"""The same of single errors: a read-only server, an idle transaction that was ended, credentials or a database that
are not there yet."""
NOT_TEXT = ("22021", "22P05")
"""SQLSTATEs of text that the database cannot store, such as a NUL."""
STALE_POLICY = "PK001"
"""The SQLSTATE of a commit that was decided under another version of the policy than the one in force.

Polka's functions in the database raise it. So it never changes.
"""
OUTDATED_EPOCH = "PK002"
"""The same for a commit whose reservation was made by an earlier cache than the present one."""
OUTDATED_KEYS = "PK003"
"""The same for a statement whose idempotency keys are of an earlier generation than the present one."""


def is_passing(error: BaseException) -> bool:
    """Whether the same call may work later without anybody's help."""
    if isinstance(error, asyncpg.PostgresError):
        code = str(error.sqlstate or "")
        return code[:2] in PASSING_CLASSES or code in PASSING_CODES
    return isinstance(error, ERRORS) and not isinstance(error, ValueError)  # a wrong configuration is a ValueError


def is_not_text(error: BaseException) -> bool:
    """Whether a value has a character that the database cannot store."""
    return getattr(error, "sqlstate", None) in NOT_TEXT


def report(log: logging.Logger, what: str, error: BaseException, **named: Any) -> None:
    """Log a failed call: in one line where it may pass by itself, else with its traceback. `named` goes beside it."""
    if is_passing(error):
        log.warning(f"{what}: %r", error, extra=named, stacklevel=2)
    else:
        log.error(what, exc_info=error, extra=named, stacklevel=2)
