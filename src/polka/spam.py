"""How `polka spam` starts Locust: in a process of its own, because it patches whatever imports it."""

import importlib.util
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from polka.failure import Failure

STOP_SECONDS = 30
"""What a run that is stopped early waits for its last payments."""
WEB_STOP_SECONDS = 2
"""The same under Locust's page, where worker processes always wait this long before their next run."""


@dataclass(frozen=True)
class Spam:
    """What to send, and how. `options` are the locustfile's own, as words; `key` is the api key that it sends."""

    url: str
    max_workers: int
    processes: int
    options: Sequence[str] = ()
    web_port: int | None = None
    key: str | None = None

    def environ(self) -> dict[str, str]:
        """The environment of Locust. The key is in it, because others can read a command line."""
        return {**os.environ, **({"POLKA_KEY": self.key} if self.key else {})}

    def command(self) -> list[str]:
        """The command line of Locust.

        Raises:
            Failure: Locust is not installed.
        """
        package = importlib.util.find_spec("spammer")
        if importlib.util.find_spec("locust") is None or package is None or package.origin is None:
            raise Failure("The spammer needs Locust: install polka[spammer].")
        mode = ["--headless"] if self.web_port is None else ["--web-host=127.0.0.1", f"--web-port={self.web_port}"]
        return [
            *(sys.executable, "-m", "locust"),
            f"--locustfile={Path(package.origin).with_name('locustfile.py')}",
            *mode,
            f"--host={self.url}",
            f"--users={self.max_workers}",
            f"--spawn-rate={self.max_workers}",
            *(split_over(self.processes) if self.processes > 1 else []),
            f"--stop-timeout={STOP_SECONDS if self.web_port is None else WEB_STOP_SECONDS}",
            "--loglevel=ERROR",
            *self.options,
        ]


def split_over(processes: int) -> list[str]:
    """Words for a master and its workers on this machine, over a port of their own: another spammer has another."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    return [
        *(f"--processes={processes}", "--master-bind-host=127.0.0.1"),
        *(f"--master-bind-port={port}", f"--master-port={port}"),
    ]
