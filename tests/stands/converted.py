"""A payment across currencies, for tests of its booking."""

from front_door import UNPOSTED, fetch, send
from proof import prove
from services import Services, client, payment, wait_for

ACROSS = {"currency": "EUR", "receiver_currency": "USD"}


def convert(services: Services) -> str:
    """A database with a payment across currencies, amended once. Everything is posted, and the services are stopped."""
    services.cache().ready()
    api = services.api().ready()
    made = send(api, payment(1252, **ACROSS)).json()
    assert made["receiver_amount"] == 1398  # 1398.7
    client.patch(f"{api.url}/transaction/{made['id']}", json={"receiver": {"account": "B2"}})
    wait_for("all is posted", lambda: not fetch(services.database_url, UNPOSTED))
    services.stop()
    prove(services.database_url)
    return services.database_url
