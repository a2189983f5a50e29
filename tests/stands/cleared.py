"""A Polka for closing and settling windows."""

import os
import subprocess
from typing import Any

import httpx

from commands import run
from proof import prove
from services import KEY, SLOW, Services, client, payment
from waiting import WAIT_SECONDS


class Cleared:
    """An api and a cache, and the test's requests."""

    def __init__(self, services: Services, **environ: str) -> None:
        self.database_url = services.database_url
        self.cache = services.cache(**SLOW | environ)
        self.api = services.api(POLKA_REQUEST_TIMEOUT_SECONDS="3")
        self.cache.ready()
        self.api.ready()

    def pay(self, amount: int, sender: str = "bank1", receiver: str = "bank2", currency: str = "USD") -> str:
        body = payment(amount, sender, receiver, currency=currency)
        return str(client.post(f"{self.api.url}/transaction", json=body).raise_for_status().json()["id"])

    def close(self, window: int) -> httpx.Response:
        return client.post(f"{self.api.url}/clearing", json={"window": window}, timeout=WAIT_SECONDS)

    def settle(self, window: int) -> httpx.Response:
        return client.post(f"{self.api.url}/clearing/{window}/settle", timeout=WAIT_SECONDS)

    def get(self, path: str = "", **params: Any) -> Any:
        return client.get(f"{self.api.url}/clearing{path}", params=params).raise_for_status().json()

    def nets(self, window: int) -> dict[tuple[str, str], int]:
        return {(total["bank"], total["currency"]): total["net"] for total in self.get(f"/{window}")["totals"]}

    def audit_is_clean(self) -> None:
        prove(self.database_url, self.cache.url)


def polka(cleared: Cleared, *words: str) -> subprocess.CompletedProcess[str]:
    return run(["clearing", *words, f"--url={cleared.api.url}"], os.environ | {"POLKA_KEY": KEY, "COLUMNS": "40"})
