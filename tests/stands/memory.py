"""Folders for the data of the tests' Postgres: in memory, if there is room."""

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
PREFIX = "polka-tests"


@contextmanager
def data_folder() -> Iterator[Path]:
    """A folder that the user of Postgres may enter. In memory, creating a database takes a third of the time.

    Tests kill Postgres, and never the machine.
    """
    remove_left()
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > BYTES_MIN
    place = MEMORY if has_room else None
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}-{os.getpid()}-", dir=place) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def remove_left() -> None:
    """Remove the remains of killed tests from memory."""
    for left in MEMORY.glob(f"{PREFIX}-*-*"):
        if not psutil.pid_exists(int(left.name.split("-")[2])):
            shutil.rmtree(left, ignore_errors=True)
