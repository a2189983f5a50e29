"""Processor time by part of Polka: api, cache and Postgres."""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

import psutil

from bench.load import Client
from bench.report import Figure
from polka.local.up import Running

MICRO = 1_000_000


class Metered:
    """A client that also notes the processor time of each payment, by part of Polka."""

    def __init__(self, client: Client, running: Running) -> None:
        self._client = client
        self._running = running
        self._microseconds: dict[str, list[float]] = {}

    async def rate(self, connections: int, seconds: int) -> float:
        """As `Client.rate`."""
        before, answered_before = seconds_by_part(self._running), self._client.answered
        rate = await self._client.rate(connections, seconds)
        answered = self._client.answered - answered_before
        for part, spent in seconds_by_part(self._running).items():
            self._microseconds.setdefault(part, []).append((spent - before[part]) / answered * MICRO)
        return rate

    async def cost(self, connections: int, seconds: int) -> float:
        """Send as `Client.rate`. Returns the processor time of a payment of all parts together, in microseconds."""
        await self.rate(connections, seconds)
        return sum(values[-1] for values in self._microseconds.values())

    def figures(self, of: str) -> Iterable[Figure]:
        """A figure for each part since the last call, without the first load, which warmed up."""
        noted, self._microseconds = self._microseconds, {}
        names = {part: f"processor time of a payment, {part}, {of}" for part in noted}
        return [Figure(names[part], values[1:], " µs") for part, values in noted.items()]


def seconds_by_part(running: Running) -> Counter[str]:
    """Processor time so far: user and system, of each process with its children, also of those that have ended.

    All apis are one part.
    """
    spent: Counter[str] = Counter()
    for process in running.processes:
        one = psutil.Process(process.pid)
        part = process.name.partition("-")[0]
        for each in (*one.children(recursive=True), one):  # the parent, read later, has the time of a child that ended
            with suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                spent[part] += times.user + times.system + times.children_user + times.children_system
    return spent
