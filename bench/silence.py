"""`python -m bench.silence HOST PORT`: keeps 10,000 connections open that send nothing, or a byte a second.

It says so in a line once all are open, and again each second with the number that the server has cut off so far.
"""

import contextlib
import resource
import socket
import sys
import time

CONNECTIONS = 10_000
SOURCES = [f"127.0.0.{last}" for last in range(2, 12)]
"""One address has neither enough ports for all of them nor may it have so many connections."""
REQUEST = b"GET /hello HTTP/1.1\r\nHost: polka\r\n" + b"X: y\r\n" * 100


def main(host: str, port: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    silent = [connect(number, host, port) for number in range(CONNECTIONS)]
    sent = [0] * CONNECTIONS
    cut = 0
    while True:
        print(cut, flush=True)
        next_round = time.monotonic() + 1
        for number, one in enumerate(silent):
            if is_cut(one, REQUEST[sent[number] : sent[number] + 1] if number % 2 else b""):
                one.close()
                cut += 1
                silent[number], sent[number] = connect(number, host, port), 0
            else:
                sent[number] = (sent[number] + 1) % len(REQUEST)
        time.sleep(max(0, next_round - time.monotonic()))


def connect(number: int, host: str, port: int) -> socket.socket:
    one = socket.create_connection((host, port), timeout=60, source_address=(SOURCES[number % len(SOURCES)], 0))
    one.setblocking(False)
    return one


def is_cut(one: socket.socket, sent: bytes) -> bool:
    """Send this, and see whether the server has closed the connection."""
    with contextlib.suppress(BlockingIOError):
        try:
            one.send(sent)
            while one.recv(4096):
                pass
        except ConnectionError:
            pass
        return True
    return False


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
