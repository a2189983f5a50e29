"""The audit, which tests end with."""

import asyncio

from polka.audit import snapshot
from services import CACHE_TOKEN


def prove(database_url: str, cache_url: str | None = None) -> None:
    """See that the audit finds nothing; with a cache, in its answers neither."""
    done = asyncio.run(snapshot.audit(database_url, cache_url, CACHE_TOKEN))
    assert done.is_clean, done.differences
