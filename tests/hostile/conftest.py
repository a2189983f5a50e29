"""What hostile tests share: a Polka that they attack, which has lost nothing when they are through with it."""

from collections.abc import Iterator

import pytest

from conftest import Running
from front_door import UNPOSTED, fetch
from hostile.witness import Hostile
from proof import prove
from services import Service, wait_for


@pytest.fixture(scope="module")
def hostile(own_polka: Running) -> Iterator[Hostile]:
    """A Polka of the file's own. At the end all that was accepted is there, and the audit finds nothing."""
    attacked = Hostile(own_polka)
    yield attacked
    url = own_polka.database_url
    wait_for("all is posted", lambda: not fetch(url, UNPOSTED))
    ((stored,),) = fetch(url, "SELECT count(*) FROM transactions")
    assert stored >= attacked.paid
    prove(url, own_polka.cache.url)


@pytest.fixture(params=["api", "cache"])
def target(request: pytest.FixtureRequest, hostile: Hostile) -> Service:
    """Each of the two services."""
    return hostile.services[request.param]
