"""Polka runs in any folder: files there that have the names of modules are never imported, with its keys at hand."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from commands import environment, started_in
from polka.local.demo import free_port
from running import Running
from services import KEY, Services, wait_for
from waiting import WAIT_SECONDS

NAMES = ("polka", "api", "cache", "spammer", "locust", "locustfile", "asyncio", "multiprocessing", "gevent", "uvicorn")
COMMAND = str(Path(sys.executable).with_name("polka"))


def lay_traps(folder: Path) -> Path:
    """Modules that leave a trace when they are run, and settings for Locust that are not ours."""
    trace = folder / "trace"
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"open({str(trace)!r}, 'a').write({name!r})\n")
    (folder / "locust.conf").write_text("headless = true\nusers = 7\nrun-time = 1s\nonly-summary = true\ncsv = spied\n")
    return trace


def test_up_runs_none_of_them() -> None:
    with tempfile.TemporaryDirectory(prefix="polka folder ") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, Postgres runs as another user
        trace, log = lay_traps(folder), folder / "log"
        words = [COMMAND, "up", "--data=my data", f"--port={free_port()}", "--apis=1"]
        with started_in(folder, log, *words) as running:
            wait_for("it is up", lambda: "Ctrl-C stops" in log.read_text() or running.poll() is not None)
            assert running.poll() is None, log.read_text()
            running.send_signal(signal.SIGINT)
            assert running.wait(WAIT_SECONDS) == 0
        assert not trace.exists(), trace.read_text()


def test_a_service_that_reloads_runs_none_of_them(services: Services, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    trace, log, port = lay_traps(folder), tmp_path / "log", free_port()
    environ = {"POLKA_DATABASE_URL": services.database_url}
    with started_in(folder, log, COMMAND, "cache", f"--port={port}", "--reload", **environ) as running:
        wait_for("it serves", lambda: "serving as of flush" in log.read_text() or running.poll() is not None)
        assert running.poll() is None, log.read_text()
        running.terminate()
        running.wait(WAIT_SECONDS)
    assert not trace.exists(), trace.read_text()


def test_the_spammer_runs_none_of_them(polka: Running, tmp_path: Path) -> None:
    trace = lay_traps(tmp_path)
    words = [COMMAND, "spam", f"--url={polka.url}", "--transactions=20", "--max-workers=2"]
    env = environment(POLKA_KEY=KEY)
    done = subprocess.run(
        words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "20 of 20 payments" in done.stderr
    assert not trace.exists(), trace.read_text()
    assert not list(tmp_path.glob("spied*"))
