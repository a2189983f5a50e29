"""Starts Locust for `polka spam` in a process of its own, because Locust patches every importing program."""

import importlib.util
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from polka.local.processes import PYTHON
from polka.service.failure import Failure

STOP_SECONDS = 30
"""The time that a stopped run waits for its last payments."""
WEB_STOP_SECONDS = 2
"""The same under Locust's page. Worker processes always wait this long before their next run."""


@dataclass(frozen=True)
class Page:
    """The address of Locust's page. A master sends nothing itself: joining workers send."""

    host: str
    port: int
    is_master: bool

    def words(self) -> list[str]:
        return [f"--web-host={self.host}", f"--web-port={self.port}", *(["--master"] if self.is_master else [])]


@dataclass(frozen=True)
class Spam:
    """The payments to send: at once, or from a page. `options` are the locustfile's own options, as words."""

    url: str
    max_workers: int
    processes: int
    options: Sequence[str] = ()
    page: Page | None = None

    def command(self) -> list[str]:
        """The command line of Locust.

        Raises:
            Failure: Locust is not installed.
        """
        return [
            *locust(),
            *(["--headless"] if self.page is None else self.page.words()),
            f"--host={self.url.rstrip('/')}",
            f"--users={self.max_workers}",
            f"--spawn-rate={self.max_workers}",
            *(split_over(self.processes) if self.processes > 1 else []),
            f"--stop-timeout={STOP_SECONDS if self.page is None else WEB_STOP_SECONDS}",
            *self.options,
        ]


def worker_command(master: str) -> list[str]:
    """The command line of a worker. The page on the master's host controls the worker.

    Raises:
        Failure: Locust is not installed.
    """
    return [*locust(), "--worker", f"--master-host={master}"]


def locust() -> list[str]:
    package = importlib.util.find_spec("spammer")
    if importlib.util.find_spec("locust") is None or package is None or package.origin is None:
        raise Failure("The spammer needs Locust: install polka[local].")
    file = Path(package.origin).with_name("locustfile.py")
    return [*(*PYTHON, "-m", "locust"), f"--locustfile={file}", "--loglevel=ERROR"]


def split_over(processes: int) -> list[str]:
    """Words for a master and its workers on this machine, over a port of their own. Another spammer uses another
    port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    return [
        *(f"--processes={processes}", "--master-bind-host=127.0.0.1"),
        *(f"--master-bind-port={port}", f"--master-port={port}"),
    ]
