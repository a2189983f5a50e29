"""What tests of the whole share: a Polka under load that Prometheus sees."""

from collections.abc import Iterator

import pytest

from observed import Observed, observing
from running import Running


@pytest.fixture(scope="module")
def observed(own_polka: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """A Polka of the file's own under load: payments of all kinds, a window that is settled, and one that is open."""
    with observing(own_polka, tmp_path_factory.mktemp("observed") / "spammer.log") as observed:
        yield observed
