"""Load from wrk: distinct payments on a number of connections, for a time or up to a number."""

import asyncio
import itertools
import shutil
import signal
from pathlib import Path

import msgspec

from polka.failure import Failure

SCRIPT = Path(__file__).with_name("payments.lua")
SECONDS_MAX = 1800
ENOUGH = "enough\n"
seeds = itertools.count(1)


class World(msgspec.Struct, frozen=True):
    """Between whom payments are made: seeded banks, and accounts spread evenly over them."""

    banks: int = 20
    accounts: int = 1_000

    def __str__(self) -> str:
        return f"{self.banks:,} banks with {self.accounts:,} accounts in all"


class Load(msgspec.Struct, frozen=True):
    """What a load has come to: how many requests were answered, in how many seconds, and what went wrong."""

    requests: int
    seconds: float
    refused: int
    broken: int


class Client:
    """Sends payments to one address and counts what was answered. No key is sent twice."""

    def __init__(self, url: str, world: World, key: str) -> None:
        self.answered = 0
        self._key = key
        self._url = url
        self._world = world

    async def rate(self, connections: int, seconds: int) -> float:
        """Send for this long; requests answered a second.

        Raises:
            Failure: any of them was refused, or a connection broke.
        """
        load = await self._send(connections, seconds, 0)
        return load.requests / load.seconds

    async def send(self, payments: int, connections: int) -> None:
        """Send this many; wrk does not wait for the answers to the last ones.

        Raises:
            Failure: any of them was refused, or a connection broke.
        """
        await self._send(connections, SECONDS_MAX, payments)

    async def _send(self, connections: int, seconds: int, payments_max: int) -> Load:
        world = self._world
        arguments = [next(seeds), world.banks, world.accounts // world.banks, payments_max, self._key]
        wrk = await asyncio.create_subprocess_exec(
            *(program(), "--threads=1", f"--connections={connections}", f"--duration={seconds}s", "--timeout=10s"),
            *(f"--script={SCRIPT}", f"{self._url}/transaction", "--", *map(str, arguments)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            lines = await self._listen(wrk)
        except asyncio.CancelledError:
            wrk.kill()
            raise
        if await wrk.wait():
            raise Failure(f"wrk has failed: {lines[-1] if lines else wrk.returncode}")
        load = msgspec.json.decode(lines[-1], type=Load)
        if load.refused or load.broken or not load.requests:
            raise Failure(
                f"Of {load.requests:,} requests to {self._url} {load.refused:,} were refused; "
                f"{load.broken:,} times a connection broke or an answer took too long."
            )
        self.answered += load.requests
        return load

    async def _listen(self, wrk: asyncio.subprocess.Process) -> list[str]:
        """What wrk says until its end, which it is told when it has sent enough."""
        lines: list[str] = []
        while wrk.stdout and (line := (await wrk.stdout.readline()).decode(errors="replace")):
            if line == ENOUGH:
                wrk.send_signal(signal.SIGINT)
            elif line.strip():
                lines.append(line.strip())
        return lines


def program() -> str:
    """The path of wrk.

    Raises:
        Failure: it is not installed.
    """
    if found := shutil.which("wrk"):
        return found
    raise Failure("The bench needs wrk: `apt-get install wrk` on Debian and Ubuntu, `brew install wrk` on macOS.")
