"""Processes that have imported Polka and only fork. A service of the tests therefore starts in milliseconds.

Each child is its own process, like one of `python -m polka`, and is killed and frozen in the same way. All children end
with the process of the tests that ordered them, and the nurseries end with the test run. Each service has its own
nursery, because each has its own metrics.
"""

import atexit
import contextlib
import functools
import gc
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
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
fork, waitpid, on_signal, Socket, Selector = (
    os.fork,
    os.waitpid,
    signal.signal,
    socket.socket,
    selectors.DefaultSelector,
)
"""As before the import of Locust."""
FOLDER = "POLKA_TESTS_NURSERIES"
"""The variable with the folder of the nurseries that the processes of a test run share."""


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
    """The nurseries by name. All processes of a test run share them, and each has a connection of its own."""
    folder = Path(os.environ.get(FOLDER) or open_nurseries())
    made = {}
    for name in IMPORTS:
        end = socket.socket(socket.AF_UNIX)
        end.connect(str(folder / name))
        made[name] = Nursery(end)
        atexit.register(made[name].close)
    return made


def open_nurseries() -> str:
    """A folder with a socket for each nursery. They start with the first connection, and end with this process."""
    folder = tempfile.mkdtemp(prefix="polka-nurseries-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    ours, theirs = socket.socketpair()
    with theirs, contextlib.ExitStack() as stack:
        listening = {
            name: stack.enter_context(socket.create_server(f"{folder}/{name}", family=socket.AF_UNIX))
            for name in IMPORTS
        }
        numbers = {"tests": theirs.fileno(), **{name: listener.fileno() for name, listener in listening.items()}}
        words = [f"{name}={number}" for name, number in numbers.items()]
        process = subprocess.Popen([sys.executable, "-P", __file__, *words], pass_fds=numbers.values())
    atexit.register(process.wait)
    atexit.register(ours.close)
    return folder


def nursery_of(word: str) -> Nursery:
    """The nursery for the first word of a `polka` command line."""
    return nurseries().get(word) or nurseries()[COMMANDS]


def divide(words: Sequence[str]) -> dict[str, Any] | None:
    """Fork a nursery for each `name=descriptor` once there is a connection. Returns in each of their children with its
    order."""
    open_files = {name: Socket(fileno=int(number)) for name, _, number in (word.partition("=") for word in words)}
    tests = open_files.pop("tests")
    with Selector() as selector:
        for one in (tests, *open_files.values()):
            selector.register(one, selectors.EVENT_READ)
        if tests in [key.fileobj for key, _ in selector.select()]:
            return None
    for name, listening in open_files.items():
        if name != SPAM:
            share()
        if not fork():
            for other in open_files.values():
                if other is not listening:
                    other.close()
            return tend(tests, listening, IMPORTS[name])
    for listening in open_files.values():
        listening.close()
    for _ in open_files:
        os.wait()
    return None


@functools.cache
def share() -> None:
    for name in SHARED:
        import_module(name)
    import_module("litestar").Litestar(logging_config=None)  # the first app triggers more imports
    import_module("polka.edge.monitoring").PAGE_SECONDS = PAGE_SECONDS  # type: ignore[attr-defined]


def tend(tests: socket.socket, listening: socket.socket, imports: Sequence[str]) -> dict[str, Any] | None:
    """Fork a server for each connection until the tests end. In each child of a server, the function returns with the
    order."""
    on_signal(signal.SIGINT, signal.SIG_IGN)
    servers: list[int] = []
    with Selector() as selector:
        for one in (tests, listening):
            selector.register(one, selectors.EVENT_READ)
        while tests not in [key.fileobj for key, _ in selector.select()]:
            connection = Socket(fileno=listening._accept()[0])  # type: ignore[attr-defined]  # Locust patches accept()
            if not servers:
                for name in imports:
                    import_module(name)
                gc.collect()
                gc.freeze()  # no child searches these objects for cycles, or copies their pages
            if not (pid := fork()):
                for open_file in (selector, tests, listening):
                    open_file.close()
                return serve(connection)
            connection.close()
            servers.append(pid)
    for pid in servers:
        waitpid(pid, 0)
    return None


def serve(tests: socket.socket) -> dict[str, Any] | None:
    """Fork as ordered until the tests end. In each child, the function returns the child's order."""
    children: set[int] = set()
    wakes, wakened = os.pipe()
    for end in (wakes, wakened):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wakened)
    on_signal(signal.SIGCHLD, lambda *_: None)
    selector = Selector()
    selector.register(tests, selectors.EVENT_READ)
    selector.register(wakes, selectors.EVENT_READ)
    unread = b""
    while True:
        ready = [key.fileobj for key, _ in selector.select()]
        if wakes in ready:
            os.read(wakes, READ_BYTES)
            say_who_ended(children, tests)
        if tests not in ready:
            continue
        if not (data := tests.recv(READ_BYTES)):
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            return None
        *lines, unread = (unread + data).split(b"\n")
        for order in map(json.loads, lines):
            if not (pid := fork()):
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGCHLD, signal.SIGINT):
                    on_signal(number, signal.SIG_DFL if number is signal.SIGCHLD else signal.default_int_handler)
                for end in (wakes, wakened):
                    os.close(end)
                for open_file in (selector, tests):
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
        # The new file may be of another kind: a file has a position, a pipe and a terminal have none.
        inherited = getattr(sys, name)
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
