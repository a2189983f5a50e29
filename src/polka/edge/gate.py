"""The gate of a server counts connections by address, and rejections.

When all connections are in use, the oldest connection without a request makes room for a new one. If all have sent a
request, an idle connection makes room. The last choice are connections whose clients owe a part of a request, or have
not read their answers.
"""

import ipaddress
import logging
from collections import Counter, deque
from collections.abc import Collection
from typing import Protocol

from polka.edge.bounds import HELD_BYTES_MAX, REFUSED_BY_REASON, Bounds, Reason

log = logging.getLogger(__name__)

REPORT_SECONDS = 10.0
LEFT_MAX = 1_000
"""The gate keeps at most this many newcomers that left, and as many more as there are connections."""


class Entrant(Protocol):
    """A connection that has entered, for the gate."""

    @property
    def is_new(self) -> bool:
        """Whether the connection still waits for its first head or its handshake. The gate alone ends such a
        connection."""

    @property
    def is_slow(self) -> bool:
        """Whether the connection was cut off, and has a moment to read the reason."""

    def abort(self) -> None: ...

    def cut_off(self, now: float) -> None:
        """End the connection, because its client is late."""

    def give_way(self) -> None:
        """End the connection, to make room for another."""


class Guest(Protocol):
    """Any connection, for the sweep."""

    @property
    def is_new(self) -> bool:
        """Whether the connection is a newcomer. The sweep does not check newcomers."""

    @property
    def is_idle(self) -> bool:
        """Whether all requests are answered, and no request came since the previous sweep."""

    @property
    def is_slow(self) -> bool:
        """Whether the connection has waited for its client since the previous sweep, for any reason."""

    @property
    def held_bytes(self) -> int:
        """The memory that its client occupies in this process."""

    def abort(self) -> None: ...

    def cut_if_late(self, now: float, stalled_seconds: float) -> None: ...


class Gate:
    """Counts connections in all and by address, and rejections. The work for each connection is constant."""

    def __init__(self, bounds: Bounds, descriptors: int = 10**9) -> None:
        self.bounds = bounds
        self._connections_max = min(bounds.connections_max, descriptors)
        self._count = 0
        self._by_address: Counter[str] = Counter()
        self._newcomers: deque[tuple[float, Entrant]] = deque()
        """With the times of their entry, less the time that this process had stalled by then."""
        self.stalled_seconds = 0.0
        """Since the start. No client is late because this process did not run."""
        self.leaving = 0
        """Connections that made room and are no longer counted, but are still open for a moment."""
        self._slow: list[Entrant | Guest] = []
        self._unreported: Counter[str] = Counter()
        self._reports_at = 0.0

    def enter(self, entrant: Entrant, host: str | None, now: float) -> Reason | None:
        """Count a connection, or return the reason for its rejection."""
        address = neighbourhood(host)
        address_max = self.bounds.connections_per_address_max
        if address and address_max and self._by_address[address] >= address_max:
            return Reason.ADDRESS
        if self._count >= self._connections_max and not self._evict():
            return Reason.CONNECTIONS
        self._count += 1
        if address:
            self._by_address[address] += 1
        if len(self._newcomers) >= 2 * self._count + LEFT_MAX:
            self._newcomers = deque(one for one in self._newcomers if one[1].is_new)
        self._newcomers.append((now - self.stalled_seconds, entrant))
        return None

    def leave(self, host: str | None) -> None:
        """Count down after the end of a counted connection."""
        self._count -= 1
        if address := neighbourhood(host):
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def refused(self, reason: Reason) -> None:
        REFUSED_BY_REASON[reason].inc()
        self._unreported[reason.value] += 1

    def cut_off_newcomers(self, now: float, stalled_seconds: float = 0.0) -> None:
        """Cut off late newcomers, ten times a second, so that few are cut off at once.

        Newcomers are kept in the order of their entry. After the first newcomer that has time left, the rest cost
        nothing.
        """
        self.stalled_seconds += stalled_seconds
        latest = now - self.stalled_seconds - self.bounds.head_timeout_seconds
        while self._newcomers:
            entered_at, oldest = self._newcomers[0]
            if oldest.is_new and entered_at > latest:
                return
            self._newcomers.popleft()
            if oldest.is_new:
                oldest.cut_off(now)
                if oldest.is_slow:
                    self._slow.append(oldest)

    def sweep(self, guests: Collection[Guest], now: float, stalled_seconds: float = 0.0) -> None:
        """Cut off late clients, once a second. Time in which this process did not run does not count."""
        for guest in guests:
            if not guest.is_new:
                guest.cut_if_late(now, stalled_seconds)
        self._bound_memory(guests)
        is_half_full = 2 * self._count >= self._connections_max
        slow = [guest for guest in guests if guest.is_slow] if is_half_full else []
        slow.sort(key=lambda guest: guest.is_idle)
        self._slow = [*slow]  # they make room from the end
        if self._unreported and now >= self._reports_at:
            self._reports_at = now + REPORT_SECONDS
            counts = ", ".join(f"{count} {reason}" for reason, count in self._unreported.most_common())
            log.warning("connections or requests were cut off: %s", counts)
            self._unreported.clear()

    def _bound_memory(self, guests: Collection[Guest]) -> None:
        """End the connections with the most memory, until all together are within the limit."""
        excess = sum(guest.held_bytes for guest in guests) - HELD_BYTES_MAX
        if excess <= 0:
            return
        held = {guest: guest.held_bytes for guest in guests}
        for guest in sorted(held, key=held.__getitem__, reverse=True):
            self.refused(Reason.MEMORY)
            guest.abort()
            excess -= held[guest]
            if excess <= 0:
                return

    def _evict(self) -> bool:
        while self._newcomers:
            _, oldest = self._newcomers.popleft()
            if oldest.is_new:
                self.refused(Reason.EVICTED)
                oldest.give_way()
                return True
        while self._slow:
            guest = self._slow.pop()
            if guest.is_slow:
                self.refused(Reason.EVICTED)
                guest.abort()
                return True
        return False


def neighbourhood(host: str | None) -> str | None:
    """The unit that counts as one address. For IPv6 this is a network of 64 bits, because one client can have all
    addresses of the network."""
    if host is None or ":" not in host:
        return host
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return host
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
