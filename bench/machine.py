"""When and where something was measured: date, commit, machine and the versions of what has a part in it."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import load
from polka import postgres

PACKAGES = ("litestar", "uvicorn", "uvloop", "httptools", "msgspec", "asyncpg", "httpx")
ROOT = Path(__file__).parent.parent


def origin() -> str:
    """All of it, in one line of text."""
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
