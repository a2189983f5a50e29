"""Processes that have imported Polka and only fork. A service of the tests therefore starts in milliseconds.

Each child is its own process, like one of `python -m polka`, and is killed and frozen in the same way. All children end
with their nursery, and the nurseries end with the tests. Each service has its own nursery, because each has its own
metrics.
"""

import atexit
import contextlib
import functools
import gc
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
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

READ_BYTES = 65_536
SHARED = ("polka.command.serve", "anyio._backends._asyncio", "httpcore")
"""Imports for the children of all nurseries. Libraries import some modules late."""
SPAM, COMMANDS = "spam", "commands"
IMPORTS = {
    SPAM: ("locust.main", "geventhttpclient.client", "polka.edge.server", "polka.local.spam", "rich.console"),
    "api": ("api.app", "uvloop"),
    "cache": ("cache.app", "uvloop"),
    COMMANDS: ("alembic.command", "polka.local.demo", "polka.store.tables", "rich.console", "sqlalchemy.ext.asyncio"),
}
"""Further imports for the children of each nursery. Modules of commands and of the spammer are missing, because some
read the environment during their import. The spammer's nursery is first, because Locust patches all later imports."""
PAGE_SECONDS = 0.02
"""Forked services render their metrics so often, instead of once a second: tests wait for the next page."""
fork, waitpid, on_signal = os.fork, os.waitpid, signal.signal
"""As before the import of Locust."""


class Child:
    """A forked process, with the part of `subprocess.Popen` for the tests. Below zero, `returncode` is a signal."""

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
    """The tests' end of a forking process."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._unread = b""
        self._born: list[int] = []
        self._children: dict[int, Child] = {}
        self._lock = threading.Lock()

    def fork(
        self,
        words: Sequence[str],
        environ: Mapping[str, str],
        output: Path,
        errors: Path | None = None,
        folder: Path | None = None,
    ) -> Child:
        """Start `polka` with these words, here or in the folder. The output is appended to the file, or to two
        files."""
        order = {
            "words": list(words),
            "environ": dict(environ),
            "folder": str(folder or os.getcwd()),
            "output": str(output),
            "errors": str(errors or output),
        }
        with self._lock:
            self._socket.sendall(json.dumps(order).encode() + b"\n")
            while not self._born:
                self._read()
            child = Child(self, self._born.pop())
            self._children[child.pid] = child
        return child

    def hear(self) -> None:
        """Receive the news of ended children."""
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


@functools.cache
def nurseries() -> dict[str, Nursery]:
    """The nurseries of this process, by name. One process imports the shared modules, and forks all nurseries."""
    ends = {name: socket.socketpair() for name in IMPORTS}
    theirs = {name: end.fileno() for name, (_, end) in ends.items()}
    words = [f"{name}={number}" for name, number in theirs.items()]
    process = subprocess.Popen([sys.executable, "-P", __file__, *words], pass_fds=theirs.values())
    for _, end in ends.values():
        end.close()
    made = {name: Nursery(ours) for name, (ours, _) in ends.items()}
    atexit.register(process.wait)
    for nursery in made.values():
        atexit.register(nursery.close)
    return made


def nursery_of(word: str) -> Nursery:
    """The nursery for the first word of a `polka` command line."""
    return nurseries().get(word) or nurseries()[COMMANDS]


def divide(words: Sequence[str]) -> dict[str, Any] | None:
    """Fork a nursery for each `name=descriptor`. Returns in each of their children with its order."""
    ends = {name: socket.socket(fileno=int(number)) for name, _, number in (word.partition("=") for word in words)}
    for name, end in ends.items():
        if name != SPAM:
            share()
        if not fork():
            for other in ends.values():
                if other is not end:
                    other.close()
            return serve(end, IMPORTS[name])
    for end in ends.values():
        end.close()
    for _ in ends:
        os.wait()
    return None


@functools.cache
def share() -> None:
    for name in SHARED:
        import_module(name)
    import_module("litestar").Litestar(logging_config=None)  # the first app triggers more imports
    import_module("polka.edge.monitoring").PAGE_SECONDS = PAGE_SECONDS  # type: ignore[attr-defined]


def serve(tests: socket.socket, imports: Sequence[str]) -> dict[str, Any] | None:
    """Fork as ordered until the tests end. In each child, the function returns the child's order."""
    children: set[int] = set()
    wakes, wakened = socket.socketpair()
    for end in (wakes, wakened):
        end.setblocking(False)
    signal.set_wakeup_fd(wakened.fileno())
    on_signal(signal.SIGCHLD, lambda *_: None)
    on_signal(signal.SIGINT, signal.SIG_IGN)
    selector = selectors.DefaultSelector()
    selector.register(tests, selectors.EVENT_READ)
    selector.register(wakes, selectors.EVENT_READ)
    unread, is_ready = b"", False
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
        if not is_ready:
            for name in imports:
                import_module(name)
            gc.collect()
            gc.freeze()  # no child searches these objects for cycles, or copies their pages
            is_ready = True
        *lines, unread = (unread + data).split(b"\n")
        for order in map(json.loads, lines):
            if not (pid := fork()):
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGCHLD, signal.SIGINT):
                    on_signal(number, signal.SIG_DFL if number is signal.SIGCHLD else signal.default_int_handler)
                for open_file in (selector, wakes, wakened, tests):
                    open_file.close()
                return dict(order)
            children.add(pid)
            tests.sendall(json.dumps({"born": pid}).encode() + b"\n")


def say_who_ended(children: set[int], tests: socket.socket) -> None:
    for pid in tuple(children):
        ended, status = waitpid(pid, os.WNOHANG)
        if ended:
            children.discard(pid)
            said = {"ended": pid, "code": os.waitstatus_to_exitcode(status)}
            tests.sendall(json.dumps(said).encode() + b"\n")


def become(order: dict[str, Any]) -> None:
    """Carry out the order, like `python -m polka`, or `python crash.py`."""
    from polka.command.main import main

    for number, name, file in ((1, "stdout", order["output"]), (2, "stderr", order["errors"])):
        opened = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY, 0o644)
        os.dup2(opened, number)
        os.close(opened)
        inherited = getattr(
            sys, name
        )  # of another kind, perhaps: a file has a position, a pipe and a terminal have none
        own = open(number, "w", encoding=inherited.encoding, errors=inherited.errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, own)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environ"])
    sys.argv = ["polka", *order["words"]]
    match order["words"][0]:
        case "spam":
            with patch("os.execve", become_locust):
                main()
        case "up" | "demo":
            with stand("forks").services_are_forked():
                main()
        case "storm":
            del sys.argv[0]
            with stand("forks").services_are_forked():
                sys.exit(stand("crash").main())
        case _:
            main()


def stand(name: str) -> Any:
    """Another module of this folder."""
    if (folder := str(Path(__file__).parent)) not in sys.path:
        sys.path.append(folder)
    return import_module(name)


def become_locust(_: str, command: Sequence[str], environ: Mapping[str, str]) -> None:
    """The equivalent of `python -m locust` in `polka spam`."""
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = list(command[command.index("locust") :])
    import_module("locust.main").main()


if __name__ == "__main__":
    ordered = divide(sys.argv[1:])
    if ordered:
        become(ordered)
