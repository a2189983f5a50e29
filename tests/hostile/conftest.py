"""What hostile tests share: a Polka that they attack, which has lost nothing when they are through with it."""

from collections.abc import Callable, Iterator

import pytest

from front_door import UNPOSTED, fetch
from proof import prove
from services import Service, Services, wait_for
from witness import Hostile

SOON = {"POLKA_HEAD_TIMEOUT_SECONDS": "10"}
"""Tests wait until silent clients are cut off."""


@pytest.fixture(scope="session")
def hostile(make_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    """A cache and an api of their own. At the end nothing that was accepted is lost, and the audit is clean."""
    services = Services(make_database(), tmp_path_factory.mktemp("hostile"))
    try:
        attacked = Hostile(services.database_url, services.cache(**SOON), services.api(**SOON))
        yield attacked
        wait_for("all is posted", lambda: not fetch(services.database_url, UNPOSTED))
        ((stored,),) = fetch(services.database_url, "SELECT count(*) FROM transactions")
        assert stored >= attacked.paid
        prove(services.database_url, services.cache_url)
    finally:
        services.stop()


@pytest.fixture(params=["api", "cache"])
def target(request: pytest.FixtureRequest, hostile: Hostile) -> Service:
    """Each of the two services."""
    return hostile.services[request.param]
