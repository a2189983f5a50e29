"""A payment with a fee, for tests of its booking."""

from typing import Any

from front_door import UNPOSTED, fetch, send
from proof import prove
from services import Services, client, payment, wait_for

FEES = {"USD": {"fixed": 25, "basis_points": 10, "minimum": 30, "maximum": 500}}
"""A quarter of a dollar and a thousandth of the amount; 30 cents at least, 5 dollars at most."""


def agree(url: str, bank: str, fees: Any) -> Any:
    return client.patch(f"{url}/banks/{bank}", json={"fees": fees}).raise_for_status().json()


def charge(services: Services) -> str:
    """A database with a payment with a fee, amended once. Everything is posted, and the services are stopped."""
    services.cache().ready()
    api = services.api().ready()
    agree(api.url, "bank1", FEES)
    made = send(api, payment(100_000)).json()
    agree(api.url, "bank1", {"USD": {"fixed": 35}})
    client.patch(f"{api.url}/transaction/{made['id']}", json={"receiver": {"account": "B2"}}).raise_for_status()
    wait_for("all is posted", lambda: not fetch(services.database_url, UNPOSTED))
    services.stop()
    prove(services.database_url)
    return services.database_url
