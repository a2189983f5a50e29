"""A `polka up` for drills of a test."""

from typing import Any

import httpx

from commands import Up
from services import client, wait_for


class Drilled:
    """A `polka up`, its database, and a key."""

    def __init__(self, running: Up, database_url: str, key: dict[str, str]) -> None:
        self.running = running
        self.database_url = database_url
        self.key = key
        self.words = [f"--url={running.url}", f"--key={key['Authorization'].removeprefix('Bearer ')}"]

    def told(self) -> dict[str, Any]:
        """The answer of `GET /drills`. Asks again if the asked api was killed."""
        found: dict[str, Any] = wait_for("an api answers", self._told)
        return found

    def _told(self) -> Any:
        response = client.get(f"{self.running.url}/drills", headers=self.key)
        return response.json() if response.is_success else None

    def post(self, **request: Any) -> httpx.Response:
        return client.post(f"{self.running.url}/drills", headers=self.key | request.pop("headers", {}), **request)
