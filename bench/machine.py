"""When and where something was measured: date, commit, machine and what else it did, versions of what has a part."""

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
    """What runs beside the bench on this machine, from the making of this on."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before = seconds_of_others()

    def cores(self) -> float:
        """How many cores it has kept busy, on average. What the bench has started must have ended."""
        return max(0.0, seconds_of_others() - self._before) / (time.monotonic() - self._began)


def seconds_of_others() -> float:
    """Processor time of all processes, and what other machines on this hardware took, less ours and our children's."""
    times = psutil.cpu_times()
    everybody = times.user + times.nice + times.system + getattr(times, "steal", 0.0)
    ours = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return float(everybody - sum(usage.ru_utime + usage.ru_stime for usage in ours))


def origin() -> str:
    """When and where, in one line of text."""
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
    """The checkout's commit, and whether it has changes besides the results; nothing outside a checkout."""
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
