"""A whole Polka that tests share."""

from collections.abc import Iterator
from pathlib import Path

from databases import new_database
from polka.local import postgres
from services import Services


class Running:
    """A whole Polka that tests share; each uses banks, accounts and keys of its own."""

    def __init__(self, services: Services, **of_apis: str) -> None:
        self.services = services
        self.database_url = services.database_url
        self.cache = services.cache()
        self.apis = [services.api(**of_apis), services.api(**of_apis)]
        for service in (self.cache, *self.apis):
            service.ready()
        self.url, self.metrics_url = self.apis[0].url, self.apis[0].metrics_url


def run_polka(server: postgres.Server, folder: Path, **of_apis: str) -> Iterator[Running]:
    services = Services(new_database(server), folder)
    try:
        yield Running(services, **of_apis)
    finally:
        services.stop()
