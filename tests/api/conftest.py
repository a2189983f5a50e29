"""What tests of the api share: its posting part by itself."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

import capped
import posts
from proof import prove
from running import Running


@pytest.fixture
async def start(database_url: str, connection: asyncpg.Connection) -> AsyncIterator[posts.Apis]:
    """Starts the posting part of an api; the cache is away unless it is given, which must change nothing."""
    async with posts.starting(database_url, connection) as start:
        yield start


@pytest.fixture
def cache() -> capped.Cache:
    """What the capped lane of an api asks for room."""
    return capped.Cache()


@pytest.fixture
async def start_capped(
    database_url: str, connection: asyncpg.Connection, cache: capped.Cache
) -> AsyncIterator[capped.Start]:
    """Starts the posting part of an api that knows of bank1's cap."""
    async with capped.starting(database_url, connection, cache) as start:
        yield start


@pytest.fixture(autouse=True)
def audited(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test that is marked so and uses the shared Polka, the audit is clean."""
    yield
    if request.node.get_closest_marker("audited") and "polka" in request.fixturenames:
        polka: Running = request.getfixturevalue("polka")
        prove(polka.database_url, polka.cache.url)
