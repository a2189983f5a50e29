"""Writes the examples in the description of the API (`make docs`): a Polka of its own answers real requests.

The file stays as it is while nothing but ids, times and the like would change.
"""

import asyncio
import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

import api.schema
from polka.local.demo import free_layout
from polka.local.up import up
from polka.rules.keys import KEY
from polka.store import api_keys, database, seed

FILE = Path(api.schema.__file__).with_name("examples.json")
BANKS = 20
WAIT_SECONDS = 120.0
LIST_MAX = 3
"""A longer list is cut to its first two."""
RATES_MAX = 3

PAYMENT = {
    "sender": {"bank": "bank1", "account": "ACC1"},
    "receiver": {"bank": "bank2", "account": "ACC1"},
    "amount": 1250,
    "currency": "USD",
    "reference": "Rent, March",
}
TERMS = {
    "caps": {"USD": 10000000},
    "suspended": "no",
    "fees": {"USD": {"fixed": 25, "basis_points": 10, "minimum": 0, "maximum": 500}},
    "interest": {"USD": {"debit_basis_points": 800, "credit_basis_points": 250}},
}
NO_TERMS = {"caps": None, "suspended": None, "fees": None, "interest": None}

Examples = dict[str, dict[str, Any]]
"""By method and path: the `request` and the answers by their status."""


def collect(url: str, key: str) -> Examples:
    """Ask a new Polka with bank1 to bank20 for everything but drills."""
    with Asking(url, key) as asking:
        pay(asking)
        read(asking)
        clear(asking)
        keep_keys(asking)
        wait_for(lambda: asking.get("/audit")["runs"])
        asking.show("GET", "/audit?limit=1")
        asking.ask("PATCH", "/banks/bank1", NO_TERMS)
        return asking.examples


def pay(asking: "Asking") -> None:
    asking.show("PATCH", "/banks/bank1", TERMS, route="/banks/{name}")
    made = asking.show("POST", "/transaction", PAYMENT | {"receiver_currency": "JPY"})
    one, many = f"/transaction/{made['id']}", f"/transactions/{made['id']}"
    wait_for(lambda: asking.get(one)["posted_at"])
    asking.show("GET", "/transaction")
    asking.show("GET", one, route="/transaction/{transaction_id}")
    asking.show("GET", many, route="/transactions/{transaction_id}")
    amendment = {"receiver": {"account": "ACC2"}, "reference": "Rent, March (corrected)"}
    asking.show("PATCH", f"{one}?reason=wrong+account", amendment, route="/transaction/{transaction_id}")
    asking.show("DELETE", f"{one}?reason=paid+twice", route="/transaction/{transaction_id}")
    wait_for(lambda: asking.get(one)["posted_at"])
    asking.show("GET", f"{one}/history", route="/transaction/{transaction_id}/history")
    asking.show("POST", "/transactions", [PAYMENT, PAYMENT])
    unknown = PAYMENT | {"receiver": {"bank": "nobody", "account": "ACC1"}}
    asking.show("POST", "/transactions?mode=each", [PAYMENT, unknown])
    wait_for(lambda: asking.get("/transaction")["posted_at"])
    wait_for(lambda: not any(balance["pending"] for balance in asking.get("/banks/bank1")["balances"]))


def read(asking: "Asking") -> None:
    asking.show("GET", "/hello")
    asking.show("GET", "/transactions?bank=bank1&status=accepted&limit=2")
    asking.show("GET", "/banks?limit=2")
    asking.show("GET", "/banks/bank1", route="/banks/{name}")
    asking.show("GET", "/banks/bank1/accounts", route="/banks/{name}/accounts")
    asking.show("GET", "/liquidity?caps=1")
    asking.show("GET", "/liquidity/history?currency=USD&resolution=day&limit=1")
    asking.show("GET", "/currencies")
    asking.show("GET", "/rates")
    asking.show("GET", "/convert?from=USD&to=JPY&amount=1250")
    asking.show("POST", "/banks", {"name": "First Bank"})


def clear(asking: "Asking") -> None:
    asking.show("POST", "/clearing", {"window": 1})
    asking.show("POST", "/clearing/1/settle", route="/clearing/{window}/settle")
    wait_for(lambda: asking.get("/clearing/1")["netting"])
    asking.show("GET", "/clearing/1", route="/clearing/{window}")
    asking.show("GET", "/clearing")


def keep_keys(asking: "Asking") -> None:
    first = asking.ask("POST", "/keys", {"name": "till 6"}).json()
    made = asking.show("POST", "/keys", {"name": "till 7", "bank": "bank1", "scopes": ["transactions:write"]})
    asking.show("GET", f"/keys?cursor={first['id']}&limit=1")
    asking.show("DELETE", f"/keys/{made['id']}", route="/keys/{key_id}")


def collect_drills(url: str, key: str) -> Examples:
    """Kill the cache of a `polka up`."""
    with Asking(url, key) as asking:
        asking.show("POST", "/drills", {"target": "cache"})
        wait_for(lambda: asking.get("/drills")["results"])
        asking.show("GET", "/drills")
        return asking.examples


class Asking:
    """Sends requests, and keeps some of them with their answers as examples."""

    def __init__(self, url: str, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._client = httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=WAIT_SECONDS)
        self.examples: Examples = {}

    def __enter__(self) -> "Asking":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return self._client.request(method, path, json=body).raise_for_status()

    def get(self, path: str) -> Any:
        return self.ask("GET", path).json()

    def show(self, method: str, path: str, body: Any = None, route: str | None = None) -> Any:
        """The answer, which is kept as an example of the route."""
        response = self.ask(method, path, body)
        route = route or path.partition("?")[0]
        example = self.examples.setdefault(f"{method} {route}", {} if body is None else {"request": body})
        example[str(response.status_code)] = shortened(response.json())
        return response.json()


def wait_for(condition: Callable[[], Any]) -> None:
    ends_at = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > ends_at:
            raise TimeoutError
        time.sleep(0.05)


def shortened(value: Any) -> Any:
    if isinstance(value, list):
        return [shortened(part) for part in (value if len(value) <= LIST_MAX else value[:2])]
    if isinstance(value, dict):
        return {name: first_rates(part) if name == "rates" else shortened(part) for name, part in value.items()}
    return value


def first_rates(rates: dict[str, str]) -> dict[str, str]:
    return dict(list(rates.items())[:RATES_MAX])


ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
CURSOR = re.compile(r"[\w-]{22}")
VARYING = ("flush", "age_seconds", "payments_new", "payments_again")


def form(examples: Examples) -> Examples:
    """The examples without what another run has otherwise: ids, times, keys, and numbers that follow from chance."""
    return {
        route: figures_of_drill(one) if route.endswith("drills") else masked(one) for route, one in examples.items()
    }


def masked(value: Any, name: str = "") -> Any:
    match value:
        case dict():
            return {name: masked(part, name) for name, part in value.items()}
        case list():
            return [masked(part, name) for part in value]
        case str():
            for kind in (ID, TIME, KEY, CURSOR):
                if kind.fullmatch(value):
                    return kind.pattern
        case int() | float() if name in VARYING:
            return 0
    return value


def figures_of_drill(value: Any) -> Any:
    """All of a drill's numbers follow from chance."""
    match value:
        case dict():
            return {name: figures_of_drill(part) for name, part in value.items()}
        case list():
            return [figures_of_drill(part) for part in value]
        case bool():
            return value
        case int() | float():
            return 0
        case _:
            return masked(value)


async def ask_own() -> Examples:
    os.environ["POLKA_RATES_URL"] = ""
    with tempfile.TemporaryDirectory(prefix="polka-examples-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Postgres may run as another user
        async with up(free_layout(1, folder, None), print) as running:
            await seed.seed(running.database_url, BANKS, 0)
            async with database.session(running.database_url) as connection:
                key = await api_keys.create_operators(connection, "examples")
            examples = await asyncio.to_thread(collect, running.layout.url, key)
            return examples | await asyncio.to_thread(collect_drills, running.layout.url, key)


def stored() -> Examples:
    examples: Examples = json.loads(FILE.read_text())
    return examples


def main() -> None:
    examples = asyncio.run(ask_own())
    if not FILE.exists() or form(stored()) != form(examples):
        FILE.write_text(json.dumps(examples, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
