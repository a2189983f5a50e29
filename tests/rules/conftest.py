"""What tests of rules do without: a test here that asks for Postgres, or for anything over it, fails."""

import pytest


@pytest.fixture(scope="session")
def server() -> None:
    pytest.fail("a test of rules starts nothing: what needs Postgres belongs into another room")
