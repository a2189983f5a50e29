"""The meaning of a failed commit: one table from the error to the next action."""

from enum import Enum

import asyncpg

from api.http.refusals import INTERNAL, UNRECORDED, Refused
from polka.store import database
from polka.store.database_errors import OUTDATED_EPOCH, OUTDATED_KEYS, STALE_POLICY

PASSING = (
    asyncpg.UniqueViolationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
BAD_DATA = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


class Fate(Enum):
    """The outcome of a failed commit, in the order of precedence."""

    UNKNOWN = "the connection broke: only the database knows"
    STALE_POLICY = "it was decided under another policy"
    OUTDATED_KEYS = "its keys are of an earlier generation"
    PASSING = "it may succeed under another id"
    BAD_DATA = "one of its operations is one that our checks should have refused"
    FAILED = "nothing was recorded"


def fate_of(error: Exception) -> Fate:
    if not database.failed_for_sure(error):
        return Fate.UNKNOWN
    code = getattr(error, "sqlstate", None)
    if code == STALE_POLICY:
        return Fate.STALE_POLICY
    if code == OUTDATED_KEYS:
        return Fate.OUTDATED_KEYS
    if isinstance(error, PASSING) or code == OUTDATED_EPOCH:
        return Fate.PASSING
    if isinstance(error, BAD_DATA):
        return Fate.BAD_DATA
    return Fate.FAILED


def unrecorded(error: Exception) -> Refused:
    """The refusal of operations after a failed database call. Nothing was recorded."""
    return UNRECORDED if database.is_passing(error) else INTERNAL
