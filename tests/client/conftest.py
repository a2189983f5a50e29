"""Both clients, so that a test of what they do is a test of each."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from client_kinds import Connect, driven
from polka.client import Client
from services import KEY


@pytest.fixture(params=["synchronous", "asynchronous"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes clients with an operator's key, which are closed at the end."""
    kind: Any = Client if request.param == "synchronous" else driven
    with ExitStack() as opened:
        yield lambda url, key=KEY, **named: opened.enter_context(kind(url, key, **named))
