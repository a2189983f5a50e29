"""The spammer in tests, its page, and a server that counts connections."""

import contextlib
import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import front_door
from commands import run
from nursery import Child, nursery_of
from running import Running
from services import Services, client
from waiting import WAIT_SECONDS

SPAM = ["spam", "--progress=none"]
STORED = "SELECT count(*) FROM transactions"


def spam(url: str, *words: str, transactions: int = 100) -> subprocess.CompletedProcess[str]:
    options = [f"--url={url}", f"--transactions={transactions}", "--max-workers=10"]
    return run([*SPAM, *options, *words], os.environ)


@contextmanager
def spamming(log: Path, url: str, *words: str) -> Iterator[Child]:
    """A spammer that runs during the block."""
    log.write_bytes(b"")
    process = nursery_of("spam").fork([*SPAM, f"--url={url}", *words], os.environ, log)
    try:
        yield process
    finally:
        process.kill()
        process.wait(WAIT_SECONDS)


def fetch(polka: Running | Services, query: str) -> Any:
    """The only value that the query finds."""
    [(value,)] = front_door.fetch(polka.database_url, query)
    return value


def stored(polka: Running) -> int:
    count: int = fetch(polka, STORED)
    return count


class Answers:
    """A server of a stranger. It counts its connections."""

    def __init__(self) -> None:
        self.asked = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._listener.accept()[0].close()
                self.asked += 1

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()


def start_a_run(page: str, **form: str) -> None:
    """Like the page's button, with all fields of the page."""
    found = re.search(r"templateArgs = (\{.*\})", client.get(page).text)
    assert found
    shown = {name: option["default_value"] for name, option in json.loads(found[1])["extra_options"].items()}
    fields = {name: "" if value in (None, []) else str(value) for name, value in shown.items()}
    fields |= {"run_time": "", "profile": "", "user_count": "4", "spawn_rate": "4", **form}
    started = client.post(f"{page}/swarm", data=fields).json()
    assert started["success"], started


def status(page: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{page}/stats/requests").json()
    return found
