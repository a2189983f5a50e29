"""The origin of a measurement: date, commit, machine and its other load, versions of the packages involved."""

import os
import platform
import re
import resource
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from bench import load
from polka.local import postgres

PACKAGES = ("litestar", "uvicorn", "uvloop", "httptools", "msgspec", "asyncpg", "httpx")
ROOT = Path(__file__).parent.parent


class Others:
    """The other load of this machine since the creation of this object."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before = seconds_of_others()

    def cores(self) -> float:
        """The average number of cores in use by other programs. All programs of the bench must have ended."""
        return max(0.0, seconds_of_others() - self._before) / (time.monotonic() - self._began)


def seconds_of_others() -> float:
    """Processor time of all processes and of other machines on this hardware, less ours and our children's."""
    times = psutil.cpu_times()
    everybody = times.user + times.nice + times.system + getattr(times, "steal", 0.0)
    ours = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return float(everybody - sum(usage.ru_utime + usage.ru_stime for usage in ours))


def origin() -> str:
    """Time and place, in a line of text."""
    parts = [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        commit(),
        f"{processor()}, {os.cpu_count()} cores, {memory_gib():.0f} GiB",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        *(f"{package} {version(package)}" for package in PACKAGES),
        postgres.locate().source.partition(",")[0],
        wrk_version(),
    ]
    return " · ".join(part for part in parts if part)


def commit() -> str:
    """The checkout's commit, with a mark for changes besides the results; empty outside a checkout."""
    said = git("describe", "--always", "--exclude=*")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/RESULTS.md")
    return f"commit {said}{' with changes' if changed else ''}" if said else ""


def git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def processor() -> str:
    information = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", information.read_text()) if information.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def wrk_version() -> str:
    said = subprocess.run([load.program(), "-v"], capture_output=True, text=True, check=False).stdout
    return said.partition(" [")[0]
