"""The temporary files of the tests: in memory, if there is room. Postgres makes a thousand files for each folder of
data, and a disk takes longer for them than Postgres does."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")
BYTES_MIN = 12 * 2**30
"""All processes of the tests together leave some gigabytes of databases there until they end."""
PREFIX = "polka-tests-"


def make_folder() -> Path | None:
    """A folder for all temporary files of the tests; None if memory has no room. Tests kill Postgres, and never the
    machine.

    The path is short, because a socket's path is.
    """
    remove_left()
    if not MEMORY.is_dir() or not fits(os.statvfs(MEMORY)):
        return None
    folder = MEMORY / f"{PREFIX}{os.getpid()}"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def fits(system: os.statvfs_result) -> bool:
    """Whether this file system has room, and runs programs, which some tests write. In a container it may not."""
    return system.f_bavail * system.f_frsize >= BYTES_MIN and not system.f_flag & os.ST_NOEXEC


def folder_of_run() -> Path | None:
    """The folder in memory in which this process, or an ancestor, keeps temporary files."""
    folder = Path(tempfile.gettempdir())
    return folder if folder.parent == MEMORY and folder.name.startswith(PREFIX) else None


def remove_left() -> None:
    """Remove the folders of killed tests, and of failed tests of an earlier run."""
    for left in MEMORY.glob(f"{PREFIX}*"):
        if not psutil.pid_exists(int(left.name.removeprefix(PREFIX).partition("-")[0])):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def data_folder() -> Iterator[Path]:
    """A folder that the user of Postgres may enter."""
    with tempfile.TemporaryDirectory(prefix="polka-data-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
