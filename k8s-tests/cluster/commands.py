"""Running a command, and waiting for something to become true."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx

from waiting import WAIT_SECONDS

T = TypeVar("T")


class CommandError(AssertionError):
    """A command that failed, with all that it said."""


def run(*command: str | Path, stdin: str | None = None, seconds: float = 300, env: dict[str, str] | None = None) -> str:
    """What the command prints.

    Raises:
        CommandError: it does not end with 0.
    """
    words = [str(word) for word in command]
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, timeout=seconds, env={**os.environ, **(env or {})}
    )
    if done.returncode:
        raise CommandError(
            f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )
    return done.stdout


def wait_for(what: str, condition: Callable[[], T], seconds: float = WAIT_SECONDS) -> T:
    """The condition's value once it is true. A command or a request that fails does not succeed yet."""
    deadline = time.monotonic() + seconds
    while True:
        last = ""
        try:
            if value := condition():
                return value
        except (CommandError, OSError, subprocess.TimeoutExpired, httpx.HTTPError) as error:
            last = f": {error}"
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:.0f} s{last}")
        time.sleep(0.2)
