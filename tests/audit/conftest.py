"""What tests of the audit share."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from proof import session


@pytest.fixture
async def auditing(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A session of an audit in the background."""
    async with session(database_url) as connection:
        yield connection
