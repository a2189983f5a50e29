"""Commands as the first process of a container, which the kernel spares each signal that they do not listen to."""

import shutil
import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from commands import POLKA, started_in
from polka.local.demo import free_port
from services import wait_for
from waiting import WAIT_SECONDS

UNSHARE = ["unshare", "--pid", "--fork", "--kill-child"]
FIRST = [*UNSHARE, *POLKA]
"""A command as it runs in a container: the kernel keeps each signal from it that it does not listen to."""
needs_a_namespace = pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode != 0,
    reason="only root may make a process the first of a namespace, as in a container",
)


def stop_first(process: subprocess.Popen[bytes]) -> int:
    """Its exit code, after it was told to stop."""
    (first,) = psutil.Process(process.pid).children()
    first.terminate()
    return process.wait(WAIT_SECONDS)


@needs_a_namespace
@pytest.mark.parametrize("name", ["api", "cache", "wait", "migrate", "audit", "seed"])
def test_the_first_process_of_a_container_stops_while_it_still_connects(name: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as database:
        database.settimeout(WAIT_SECONDS)
        words = [name, *([f"--port={free_port()}"] if name in ("api", "cache") else [])]
        url = f"postgresql://nobody@127.0.0.1:{database.getsockname()[1]}/none"
        with started_in(tmp_path, tmp_path / "log", *FIRST, *words, POLKA_DATABASE_URL=url) as process:
            connection, _ = database.accept()
            with connection:  # nobody ever answers; a command that waits for it says so, and ends with 1
                assert stop_first(process) == (143 if name in ("api", "cache") else 130)
    assert "Traceback" not in (tmp_path / "log").read_text()


@needs_a_namespace
def test_the_spammer_as_the_first_process_of_a_container_stops_while_it_waits(tmp_path: Path) -> None:
    log = tmp_path / "log"
    url = f"http://127.0.0.1:{free_port()}"
    with started_in(tmp_path, log, *FIRST, "spam", f"--url={url}", "--wait=5m") as process:
        wait_for("it waits", lambda: "Waiting for " in log.read_text())
        assert stop_first(process) == 1
    assert "Traceback" not in log.read_text()
