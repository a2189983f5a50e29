"""A whole Polka, shared by tests."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from databases import new_database
from polka.local import postgres
from services import Services


class Running:
    """A whole Polka, shared by tests. Each test uses its own banks, accounts and keys."""

    def __init__(self, services: Services, **of_apis: str) -> None:
        self.services = services
        self.database_url = services.database_url
        self.cache = services.cache()
        self.apis = [services.api(**of_apis), services.api(**of_apis)]
        for service in (self.cache, *self.apis):
            service.ready()
        self.url, self.metrics_url = self.apis[0].url, self.apis[0].metrics_url


@contextmanager
def run_polka(server: postgres.Server, folder: Path, **of_apis: str) -> Iterator[Running]:
    services = Services(new_database(server), folder)
    try:
        yield Running(services, **of_apis)
    finally:
        services.end()


class SharedPolka:
    """The Polka for several files. It starts for the first file with tests for it, and ends before a file without.

    An idle Polka takes a tenth of a processor.
    """

    def __init__(self) -> None:
        self._running: Running | None = None
        self._stack = ExitStack()

    def running(self, server: postgres.Server, folder: Path) -> Running:
        if self._running is None:
            self._running = self._stack.enter_context(run_polka(server, folder))
        return self._running

    def end(self) -> None:
        self._running = None
        self._stack.close()


SHARED = SharedPolka()
