"""Load from wrk: distinct payments, or reads, on a number of connections, for a time or up to a number."""

import asyncio
import itertools
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import msgspec

from polka.service.failure import Failure

SCRIPTS = Path(__file__).parent
SECONDS_MAX = 1800
WAIT_SECONDS_MAX = 20
"""The timeout of wrk, longer than any timeout of an api, so that a long wait is visible."""
ENOUGH = "enough\n"
seeds = itertools.count(1)


class World(msgspec.Struct, frozen=True):
    """The parties of payments: seeded banks, and accounts spread evenly over the banks."""

    banks: int = 20
    accounts: int = 1_000

    def drawn(self) -> tuple[int, int]:
        """The number of banks, and the number of accounts of each bank."""
        return self.banks, self.accounts // self.banks

    def __str__(self) -> str:
        return f"{self.banks:,} banks with {self.accounts:,} accounts in all"


class Load(msgspec.Struct, frozen=True):
    """The result of a load: the answered requests, their time in seconds, and all failures.

    `broken` counts connections, and answers after wrk's timeout. `statuses` is only filled on request.
    """

    requests: int
    seconds: float
    refused: int
    broken: int
    wait_seconds_max: float
    wait_seconds_p99: float
    statuses: dict[int, int]


class Client:
    """Sends payments to one address and counts accepted payments. No key is sent twice.

    All payments are from the bank with the number `sender`; with 0 the senders vary.
    """

    def __init__(self, url: str, world: World, key: str, sender: int = 0) -> None:
        self.answered = 0
        self._key = key
        self._sender = sender
        self._url = url
        self._world = world

    async def rate(self, connections: int, seconds: int) -> float:
        """Send for this long. Returns the answered requests a second.

        Raises:
            Failure: a request was refused, or a connection broke.
        """
        load = all_accepted(self._url, await self._send(connections, seconds))
        self.answered += load.requests
        return load.requests / load.seconds

    async def send(self, payments: int, connections: int) -> None:
        """Send this many payments. wrk does not wait for the last answers.

        Raises:
            Failure: a request was refused, or a connection broke.
        """
        load = all_accepted(self._url, await self._send(connections, SECONDS_MAX, payments))
        self.answered += load.requests

    async def press(self, connections: int, seconds: int) -> Load:
        """Send for this long, regardless of the answers, and count their statuses."""
        load = await self._send(connections, seconds, counts_statuses=True)
        self.answered += load.statuses.get(201, 0)
        return load

    async def stroll(self, connections: int, rest_milliseconds: int, seconds: int) -> Load:
        """Send for this long, below the highest rate: each connection rests before it sends, on average for
        `rest_milliseconds`.

        Raises:
            Failure: a request was refused, or a connection broke.
        """
        load = all_accepted(self._url, await self._send(connections, seconds, rest_milliseconds=rest_milliseconds))
        self.answered += load.requests
        return load

    async def press_bulks(self, connections: int, payments: int, seconds: int) -> Load:
        """Send this many payments a request for this long, regardless of the answers, and count their statuses."""
        arguments = [next(seeds), *self._world.drawn(), self._key, self._sender, payments]
        load = await run(f"{self._url}/transactions", "bulks", connections, seconds, arguments)
        self.answered += payments * load.statuses.get(201, 0)
        return load

    async def _send(
        self,
        connections: int,
        seconds: int,
        payments_max: int = 0,
        counts_statuses: bool = False,
        rest_milliseconds: int = 0,
    ) -> Load:
        limits = [payments_max, int(counts_statuses), rest_milliseconds]
        arguments = [next(seeds), *self._world.drawn(), self._key, *limits, self._sender]
        return await run(f"{self._url}/transaction", "payments", connections, seconds, arguments)


async def read_rate(url: str, key: str, connections: int, seconds: int) -> float:
    """GET this URL for `seconds`. Returns the answered requests a second.

    Raises:
        Failure: a request was refused, or a connection broke.
    """
    load = all_accepted(url, await run(url, "reads", connections, seconds, [key]))
    return load.requests / load.seconds


def all_accepted(url: str, load: Load) -> Load:
    if load.refused or load.broken or not load.requests:
        raise Failure(
            f"Of {load.requests:,} requests to {url} {load.refused:,} were refused; "
            f"{load.broken:,} times a connection broke or an answer took too long."
        )
    return load


async def run(url: str, script: str, connections: int, seconds: int, arguments: Sequence[object]) -> Load:
    """Run wrk with one of the scripts beside this file.

    Raises:
        Failure: wrk fails.
    """
    wrk = await asyncio.create_subprocess_exec(
        *(*on_one_core(), program(), "--threads=1", f"--connections={connections}", f"--duration={seconds}s"),
        *(f"--timeout={WAIT_SECONDS_MAX}s", f"--script={SCRIPTS / script}.lua", url, "--", *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"LUA_PATH": f"{SCRIPTS}/?.lua;;"},
    )
    try:
        lines = await listen(wrk)
    except asyncio.CancelledError:
        wrk.kill()
        raise
    if await wrk.wait():
        raise Failure(f"wrk has failed: {lines[-1] if lines else wrk.returncode}")
    return msgspec.json.decode(lines[-1], type=Load)


async def listen(wrk: asyncio.subprocess.Process) -> list[str]:
    """The output of wrk. After enough requests wrk gets a signal to end."""
    lines: list[str] = []
    while wrk.stdout and (line := (await wrk.stdout.readline()).decode(errors="replace")):
        if line == ENOUGH:
            wrk.send_signal(signal.SIGINT)
        elif line.strip():
            lines.append(line.strip())
    return lines


def on_one_core() -> list[str]:
    """The beginning of a command that keeps to the last core, where the system can do so.

    A client on another machine takes no turns with the api on its core. Without this, the kernel wakes wrk on the api's
    core at each answer, even while another core is idle.
    """
    if not (pin := shutil.which("taskset")):
        return []
    return [pin, "--cpu-list", str(max(os.sched_getaffinity(0)))]


def program() -> str:
    """The path of wrk.

    Raises:
        Failure: wrk is not installed.
    """
    if found := shutil.which("wrk"):
        return found
    raise Failure("The bench needs wrk: `apt-get install wrk` on Debian and Ubuntu, `brew install wrk` on macOS.")
