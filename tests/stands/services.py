"""Polka's processes in tests: real processes, each on its own port, killed and frozen at will."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from nursery import Child, nursery_of
from polka.local.demo import free_port
from waiting import WAIT_SECONDS
from whole import Transport

os.environ["POLKA_RATES_URL"] = ""
"""No test asks anybody outside for exchange rates."""
KEY = "polka_" + "0123456789" * 4
"""An operator's key with all scopes, in every database of the tests."""
CACHE_TOKEN = "the token of the tests' caches"
POLL_SECONDS_MIN, POLL_SECONDS_MAX = 0.02, 0.1
QUICK = {"POLKA_FLUSH_SECONDS": "0.1"}
SLOW = {"POLKA_FLUSH_SECONDS": "3600"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


client = httpx.Client(transport=Transport(), headers=bearer(KEY), timeout=WAIT_SECONDS)
"""Shared by all tests, because making a client takes longer than a payment. `cache_client` is only for caches."""
cache_client = httpx.Client(trust_env=False, verify=False, headers=bearer(CACHE_TOKEN), timeout=WAIT_SECONDS)


def wait_for(what: str, condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """The condition's value once it is true. An unreachable service counts as not true yet.

    Checks take processor time from the service. Therefore checks become rarer with the time.
    """
    began = time.monotonic()
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if value := condition():
                return value
        waited = time.monotonic() - began
        if waited > seconds:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        time.sleep(min(max(waited / 10, POLL_SECONDS_MIN), POLL_SECONDS_MAX))


async def until(what: str, check: Callable[[], Any], seconds: float = WAIT_SECONDS) -> None:
    await asyncio.to_thread(wait_for, what, check, seconds)


class Service:
    """A process of Polka."""

    def __init__(
        self, name: str, port: int, database_url: str, log: Path, options: Sequence[str] = (), **environ: str
    ) -> None:
        self.name = name
        metrics_port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.metrics_url = f"http://127.0.0.1:{metrics_port}"
        self.log = log
        self._words = [name, f"--port={port}", *options]
        self._environ = {
            **os.environ,
            "POLKA_DATABASE_URL": database_url,
            "POLKA_CACHE_TOKEN": CACHE_TOKEN,
            "POLKA_METRICS_PORT": str(metrics_port),
            **environ,
        }
        self.process = self._spawn()

    def _spawn(self) -> Child | subprocess.Popen[bytes]:
        if "PYTHONPATH" not in self._environ:
            return nursery_of(self.name).fork(self._words, self._environ, self.log)
        with self.log.open("ab") as output:  # with another source
            return subprocess.Popen(
                [sys.executable, "-m", "polka", *self._words], env=self._environ, stdout=output, stderr=output
            )

    def ready(self, seconds: float = WAIT_SECONDS) -> "Service":
        """Wait until the service can serve."""
        wait_for(f"{self.name} is ready (see {self.log})", self.is_ready, seconds)
        return self

    def is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")
        try:
            return client.get(f"{self.metrics_url}/health/ready", timeout=1).is_success
        except httpx.HTTPError:
            return False

    def start(self) -> None:
        """Start the service again after its end."""
        self.process = self._spawn()

    def restart(self, seconds: float = WAIT_SECONDS) -> "Service":
        self.start()
        return self.ready(seconds)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    def ended(self) -> int:
        """Wait for the end of the service, and return its exit code."""
        return self.process.wait(WAIT_SECONDS)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(WAIT_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()


class Services:
    """Starts services over a database, and stops all services at the end."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self.database_url = database_url
        self._folder = folder
        self.started: list[Service] = []
        self._cache_port = free_port()
        self.cache_url = f"http://127.0.0.1:{self._cache_port}"

    def cache(self, **environ: str) -> Service:
        return self._start("cache", self._cache_port, environ)

    def another_cache(self, **environ: str) -> Service:
        """A second cache, unknown to the apis."""
        return self._start("cache", free_port(), environ)

    def api(self, **environ: str) -> Service:
        return self._start("api", free_port(), {"POLKA_CACHE_URL": self.cache_url} | environ)

    def _start(self, name: str, port: int, environ: dict[str, str]) -> Service:
        log = self._folder / f"{name}-{len(self.started)}.log"
        service = Service(name, port, self.database_url, log, **environ)
        self.started.append(service)
        return service

    def stop(self) -> None:
        for service in reversed(self.started):
            service.stop()

    def end(self) -> None:
        """End all services when nothing depends on them any more. A killed one ends sooner, but tells no coverage."""
        if "COVERAGE_RUN" in os.environ:
            self.stop()
        for service in self.started:
            service.send(signal.SIGKILL)
        for service in self.started:
            service.ended()


def payment(amount: int = 100, sender: str = "bank1", receiver: str = "bank2", **fields: Any) -> dict[str, Any]:
    return {
        "sender": {"bank": sender, "account": "A1"},
        "receiver": {"bank": receiver, "account": "B1"},
        "amount": amount,
        **fields,
    }
