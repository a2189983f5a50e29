"""What a failed commit means: one table from the error to what is done next."""

from enum import Enum

import asyncpg

from api.http.refusals import INTERNAL, UNRECORDED, Refused
from api.posting import commits
from polka.store import bank_terms, database

PASSING = (
    asyncpg.UniqueViolationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
BAD_DATA = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


class Fate(Enum):
    """What became of a commit that failed, in the order of precedence."""

    UNKNOWN = "the connection broke: only the database knows"
    STALE_POLICY = "it was decided under another policy"
    PASSING = "it may succeed under another id"
    BAD_DATA = "one of its operations is one that our checks should have refused"
    FAILED = "nothing was recorded"


def fate_of(error: Exception) -> Fate:
    if not database.failed_for_sure(error):
        return Fate.UNKNOWN
    if bank_terms.is_stale(error):
        return Fate.STALE_POLICY
    if isinstance(error, PASSING) or commits.is_outdated(error):
        return Fate.PASSING
    if isinstance(error, BAD_DATA):
        return Fate.BAD_DATA
    return Fate.FAILED


def unrecorded(error: Exception) -> Refused:
    """The refusal of operations that a failed call to the database has kept from being recorded."""
    return UNRECORDED if database.is_passing(error) else INTERNAL
