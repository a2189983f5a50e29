"""`python -m bench.sink HOST`: a listener without work: accepts, reads no byte, and closes as late as an api.

It prints its port, and costs about as little as a listener can. Good clients of another process lose only the storm's
own processor time on a shared machine.
"""

import resource
import select
import socket
import sys
import time
from collections import deque

from polka.edge.bounds import Bounds

BACKLOG = 4096
HEAD_SECONDS = Bounds().head_timeout_seconds
"""As long as an api waits for a head."""
LOOK_SECONDS = 1


def main(host: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listening = socket.create_server((host, 0), backlog=BACKLOG)
    listening.setblocking(False)
    print(listening.getsockname()[1], flush=True)
    kept: deque[tuple[float, socket.socket]] = deque()
    while True:
        select.select([listening], [], [], LOOK_SECONDS)
        now = time.monotonic()
        while True:
            try:
                kept.append((now, listening.accept()[0]))
            except BlockingIOError:
                break
        while kept and now - kept[0][0] >= HEAD_SECONDS:
            kept.popleft()[1].close()


if __name__ == "__main__":
    main(sys.argv[1])
