"""`.ci/install`, which every make target calls first: it installs once, says so, and goes by content."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = (".ci/install", "requirements-run.txt", "requirements-dev.txt", "pyproject.toml")
PYTHON = """#!/bin/sh
# Stands in for a Python: it makes an environment whose Python is this file, and writes down what pip is asked for.
case "$*" in
    "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *) echo "$*" >>asked; [ ! -e broken ] ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of Polka, as far as an installation reads it, and a Python that installs nothing."""
    (tmp_path / ".ci").mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    for name, text in ("fake", PYTHON), (".ci/python", f"#!/bin/sh\necho {tmp_path}/fake\n"):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def install(clone: Path, what: str) -> tuple[str, list[str]]:
    """What it says, and the locks that it has pip install."""
    (clone / "asked").unlink(missing_ok=True)
    done = subprocess.run([clone / ".ci/install", what], cwd="/", capture_output=True, text=True, check=True)
    asked = (clone / "asked").read_text().splitlines() if (clone / "asked").exists() else []
    return done.stdout, [line.rpartition(" ")[2] for line in asked if "--requirement" in line]


def test_it_says_in_one_line_that_it_installs_and_installs_once(clone: Path) -> None:
    said, locks = install(clone, "run")
    assert said.startswith("Installing Polka and ")
    assert said.count("\n") == 1
    assert locks == ["requirements-run.txt"]
    assert install(clone, "run") == ("", [])


def test_tools_come_on_top_and_nothing_again_after_them(clone: Path) -> None:
    assert install(clone, "run")[1] == ["requirements-run.txt"]
    assert install(clone, "dev")[1] == ["requirements-dev.txt"]
    assert install(clone, "dev") == install(clone, "run") == ("", [])


def test_everything_is_enough_for_the_demo(clone: Path) -> None:
    assert install(clone, "dev")[1] == ["requirements-dev.txt"]
    assert install(clone, "run") == ("", [])


def test_another_lock_is_noticed_without_a_message(clone: Path) -> None:
    """`cat` into a pipe whose reader has ended would complain where SIGPIPE is ignored, as on some CI machines."""
    install(clone, "run")
    (clone / ".venv/installed-run").write_text("another")
    ignoring = ["env", "--ignore-signal=PIPE", str(clone / ".ci/install"), "run"]
    assert subprocess.run(ignoring, cwd="/", capture_output=True, check=True).stderr == b""


def test_the_content_of_a_lock_counts_and_its_time_does_not(clone: Path) -> None:
    install(clone, "run")
    lock = clone / "requirements-run.txt"
    os.utime(lock)
    assert install(clone, "run") == ("", [])
    lock.write_text(lock.read_text() + "# another version\n")
    os.utime(lock, (0, 0))
    assert install(clone, "run")[1] == ["requirements-run.txt"]


def test_a_broken_installation_is_done_again(clone: Path) -> None:
    (clone / "broken").touch()
    with pytest.raises(subprocess.CalledProcessError):
        install(clone, "run")
    (clone / "broken").unlink()
    assert install(clone, "run")[1] == ["requirements-run.txt"]
