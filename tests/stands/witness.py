"""A good client beside a hostile client: its observations, and the memory of the processes."""

import contextlib
import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil

from services import CACHE_TOKEN, KEY, Service, bearer, payment
from whole import Connection

ANSWER_SECONDS = 1.0
BUSY_FACTOR = 3
"""On a busy machine an answer may take this many times as long as the longest answer without an attack."""
MEMORY_RATIO = 1.2
PAUSE_SECONDS = 0.02


class Witness:
    """Asks `GET /hello`, pays, and asks the cache for a balance, again and again, each on a connection of its own."""

    def __init__(self, api: Service, cache: Service) -> None:
        self._enough = threading.Event()
        self.paid = 0
        self.failed: list[str] = []
        self.longest_seconds = 0.0
        self._threads = [
            threading.Thread(target=self._repeat, args=(api, "GET", "/hello", {}, 200)),
            threading.Thread(target=self._repeat, args=(api, "POST", "/transaction", bearer(KEY), 201)),
            threading.Thread(target=self._repeat, args=(cache, "GET", "/balance/bank1", bearer(CACHE_TOKEN), 200)),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, service: Service, method: str, path: str, headers: dict[str, str], expected: int) -> None:
        connection = Connection("127.0.0.1", httpx.URL(service.url).port, timeout=120)
        body = json.dumps(payment()).encode() if method == "POST" else None
        while not self._enough.is_set():
            began = time.monotonic()
            try:
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                response.read()
                status = str(response.status)
            except OSError as error:
                status = repr(error)
                connection.close()
            seconds = time.monotonic() - began
            self.longest_seconds = max(self.longest_seconds, seconds)
            if status != str(expected):
                self.failed.append(f"{method} {path}: {status} after {seconds:.2f} s")
            self.paid += method == "POST" and status == "201"
            time.sleep(PAUSE_SECONDS)
        connection.close()


class Hostile:
    """A Polka under attack. `attacked` compares the observations of its good clients with the bounds."""

    def __init__(self, database_url: str, cache: Service, api: Service) -> None:
        self.database_url = database_url
        self.paid = 0
        self.services = {"api": api, "cache": cache}
        for service in self.services.values():
            service.ready()
        self._answer_seconds = math.inf
        with self.attacked() as alone:
            time.sleep(3)  # memory grows with the first requests of a process, from any sender
        self._answer_seconds = max(ANSWER_SECONDS, BUSY_FACTOR * alone.longest_seconds)

    @contextmanager
    def attacked(self) -> Iterator[Witness]:
        """Good clients go on while the block runs. All their requests must be answered in time, and memory must stay
        flat."""
        before = self._memory()
        witness = Witness(self.services["api"], self.services["cache"])
        witness.start()
        try:
            yield witness
        finally:
            witness.stop()
            self.paid += witness.paid
        assert not witness.failed, witness.failed[:5]
        if self._answer_seconds < math.inf:
            after = self._memory()
            grown = {name: after[name] / before[name] for name in before}
            longest, allowed = witness.longest_seconds, self._answer_seconds
            assert longest <= allowed, f"an answer took {longest:.2f} s, where {allowed:.2f} s are allowed"
            assert all(ratio <= MEMORY_RATIO for ratio in grown.values()), grown

    def _memory(self) -> dict[str, float]:
        memory = {}
        for name, service in self.services.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                memory[name] = psutil.Process(service.process.pid).memory_info().rss
        return memory
