"""A service that is started with --reload, as for development: a change of its code is in force without a new start."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from polka.local.demo import free_port
from services import Service, client, wait_for

CODE = Path(__file__).parents[2] / "src"


@pytest.mark.parametrize("name", ["api", "cache"])
def test_a_change_of_the_code_is_in_force_without_a_new_start(database_url: str, tmp_path: Path, name: str) -> None:
    code = Path(shutil.copytree(CODE, tmp_path / "src"))
    log = tmp_path / "log"
    service = Service(name, free_port(), database_url, log, ["--reload"], PYTHONPATH=str(code))
    try:
        service.ready()
        assert client.get(f"{service.metrics_url}/health/live").json() == {"status": "live"}
        write(code / "polka" / "edge" / "monitoring.py", '"status": "live"', '"status": "changed"')
        changed = {"status": "changed"}
        wait_for("the change is in force", lambda: client.get(f"{service.metrics_url}/health/live").json() == changed)
        service.send(signal.SIGTERM)
        assert service.ended() == 0
    finally:
        service.stop()


def write(path: Path, old: str, new: str) -> None:
    """Change the file at once, as an editor does, and at a time that no clock takes for the last one."""
    stat = path.stat()
    replaced = path.with_suffix(".new")
    replaced.write_text(path.read_text().replace(old, new))
    os.utime(replaced, (stat.st_atime, stat.st_mtime + 10))
    replaced.rename(path)
