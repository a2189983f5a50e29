"""A process that has imported all of Polka and does nothing but fork: a service of the tests starts in milliseconds.

Each child is a process of its own, as `python -m polka` would be, and is killed and frozen like one. All of them end
with the nursery, and the nursery ends with the tests.
"""

import atexit
import contextlib
import functools
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

READ_BYTES = 65_536


class Child:
    """A forked process, with what of `subprocess.Popen` the tests use. Below zero, `returncode` is a signal."""

    def __init__(self, nursery: "Nursery", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        self._nursery.hear()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The tests' end of the process that forks."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-P", __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        self._unread = b""
        self._born: list[int] = []
        self._children: dict[int, Child] = {}
        self._lock = threading.Lock()
        atexit.register(self.close)

    def fork(self, words: Sequence[str], environ: Mapping[str, str], output: Path) -> Child:
        """Start `polka` with these words; what it writes is appended to the file."""
        order = {"words": list(words), "environ": dict(environ), "output": str(output)}
        with self._lock:
            self._socket.sendall(json.dumps(order).encode() + b"\n")
            while not self._born:
                self._read()
            child = Child(self, self._born.pop())
            self._children[child.pid] = child
        return child

    def hear(self) -> None:
        """Take in who has ended."""
        with self._lock, contextlib.suppress(BlockingIOError):
            while True:
                self._read(socket.MSG_DONTWAIT)

    def _read(self, flags: int = 0) -> None:
        if not (data := self._socket.recv(READ_BYTES, flags)):
            raise AssertionError("the process that forks services has ended")
        *lines, self._unread = (self._unread + data).split(b"\n")
        for told in map(json.loads, lines):
            if "born" in told:
                self._born.append(told["born"])
            elif child := self._children.pop(told["ended"], None):
                child.returncode = told["code"]

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


@functools.cache
def nursery() -> Nursery:
    """The one of this process."""
    return Nursery()


def serve(tests: socket.socket) -> dict[str, Any] | None:
    """Fork as ordered until the tests end. Returns in each child too, there with the order that it is for."""
    children: set[int] = set()
    wakes, wakened = socket.socketpair()
    for end in (wakes, wakened):
        end.setblocking(False)
    signal.set_wakeup_fd(wakened.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    selector = selectors.DefaultSelector()
    selector.register(tests, selectors.EVENT_READ)
    selector.register(wakes, selectors.EVENT_READ)
    unread = b""
    while True:
        ready = [key.fileobj for key, _ in selector.select()]
        if wakes in ready:
            wakes.recv(READ_BYTES)
            say_who_ended(children, tests)
        if tests not in ready:
            continue
        if not (data := tests.recv(READ_BYTES)):
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            return None
        *lines, unread = (unread + data).split(b"\n")
        for order in map(json.loads, lines):
            if not (pid := os.fork()):
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGCHLD, signal.SIGINT):
                    signal.signal(number, signal.SIG_DFL if number is signal.SIGCHLD else signal.default_int_handler)
                for open_file in (selector, wakes, wakened, tests):
                    open_file.close()
                return dict(order)
            children.add(pid)
            tests.sendall(json.dumps({"born": pid}).encode() + b"\n")


def say_who_ended(children: set[int], tests: socket.socket) -> None:
    for pid in tuple(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            children.discard(pid)
            said = {"ended": pid, "code": os.waitstatus_to_exitcode(status)}
            tests.sendall(json.dumps(said).encode() + b"\n")


def become(order: dict[str, Any]) -> None:
    """Be what was ordered, as `python -m polka` is."""
    from polka.command.main import main

    output = os.open(order["output"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(order["environ"])
    sys.argv = ["polka", *order["words"]]
    main()


if __name__ == "__main__":
    import polka.command.serve  # noqa: F401

    ordered = serve(socket.socket(fileno=int(sys.argv[1])))
    if ordered:
        become(ordered)
