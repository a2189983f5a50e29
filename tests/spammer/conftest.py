"""What tests of the spammer share."""

import pytest

from running import Running
from services import KEY


@pytest.fixture(scope="module")
def polka(own_polka: Running) -> Running:
    """One of the file's own, because the spammer pays between all banks."""
    return own_polka


@pytest.fixture
def with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLKA_KEY", KEY)
