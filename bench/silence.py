"""`python -m bench.silence HOST PORT`: keeps 10,000 connections open. Half are silent, half send a byte a second.

The program prints a line when all are open, and another each second: the number of connections cut off by the server,
and the clients' own processor time since the first line, in seconds.
"""

import contextlib
import resource
import select
import socket
import sys
import time

CONNECTIONS = 10_000
SOURCES = [f"127.0.0.{last}" for last in range(2, 12)]
"""A single address has too few ports, and may not have this many connections."""
REQUEST = b"GET /hello HTTP/1.1\r\nHost: polka\r\n" + b"X: y\r\n" * 100
SLICES = 20
"""Bytes and checks are spread over a second, like those of strangers."""


class Silent:
    """The connections. The kernel reports connections that the server has closed; others cost nothing."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._numbers: dict[int, int] = {}
        self._sent: dict[int, int] = {}
        self.cut = 0
        for number in range(CONNECTIONS):
            self._connect(number)

    def _connect(self, number: int) -> None:
        source = SOURCES[number % len(SOURCES)], 0
        one = socket.create_connection(self._address, timeout=60, source_address=source)
        one.setblocking(False)
        descriptor = one.fileno()
        self._sockets[descriptor], self._numbers[descriptor] = one, number
        if number % 2:
            self._sent[descriptor] = 0
        self._poll.register(descriptor, select.EPOLLIN | select.EPOLLRDHUP)

    def send(self, part: int) -> None:
        """Send a byte on every sending connection of this part."""
        for descriptor in [found for found in self._sent if self._numbers[found] // 2 % SLICES == part]:
            place = self._sent[descriptor]
            self._sent[descriptor] = (place + 1) % len(REQUEST)
            with contextlib.suppress(OSError):
                self._sockets[descriptor].send(REQUEST[place : place + 1])

    def look(self) -> None:
        """Reopen each closed connection."""
        for descriptor, _ in self._poll.poll(0, CONNECTIONS):
            number = self._numbers.pop(descriptor)
            self._sent.pop(descriptor, None)
            self._sockets.pop(descriptor).close()
            self._connect(number)
            self.cut += 1


def main(host: str, port: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    silent = Silent(host, port)
    began = time.process_time()
    next_slice = time.monotonic()
    while True:
        print(silent.cut, f"{time.process_time() - began:.2f}", flush=True)
        for part in range(SLICES):
            silent.send(part)
            silent.look()
            next_slice += 1 / SLICES
            time.sleep(max(0, next_slice - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
