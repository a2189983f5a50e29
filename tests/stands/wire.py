"""A wire to Postgres that can fail: a proxy between a client and the server that cuts connections on demand."""

import contextlib
import socket
import threading
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from waiting import WAIT_SECONDS

Matches = Callable[[bytes], bool]


class Fault(Enum):
    """The fate of the first matching message."""

    LOSE_ANSWER = "the server gets it and does it; the client's connection breaks before the answer"
    SWALLOW = "it never reaches the server; both connections break"
    DELAY = "the client's connection breaks; the server gets it when it is released"


class Wire:
    """A proxy to the Postgres of a `host=/socket/folder` URL. Clients connect to `url` instead."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.point(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = f"postgresql://postgres@127.0.0.1:{port}{parts.path}?sslmode=disable"
        self._armed: tuple[Fault, Matches] | None = None
        self._lock = threading.Lock()
        self._release = threading.Event()
        self._open: list[socket.socket] = []
        self._then_refuse = False
        self._refusing = False
        self.messages = 0
        """The number of messages from clients."""
        self.struck = threading.Event()
        self.done = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def point(self, url: str) -> None:
        """Connect new clients to the Postgres of this URL. Existing connections stay."""
        self._socket = Path(parse_qs(urlsplit(url).query)["host"][0]) / ".s.PGSQL.5432"

    def arm(self, fault: Fault, matches: Matches, then_refuse: bool = False) -> None:
        """Strike the first matching message from now on. `then_refuse` also cuts all other connections."""
        self._then_refuse = then_refuse
        self.struck.clear()
        self.done.clear()
        self._release.clear()
        self._armed = (fault, matches)

    def release(self) -> None:
        """Let a delayed message go to the server, and wait until the server has processed the message."""
        self._release.set()
        assert self.done.wait(WAIT_SECONDS), "the server did not answer the delayed message"

    def refuse(self) -> None:
        """Cut each new connection at once, until `accept`."""
        self._refusing = True

    def cut(self, but: socket.socket | None = None) -> None:
        """Cut all connections, except this end."""
        for opened in self._open:
            if opened is not but:
                shut(opened)

    def accept(self) -> None:
        self._refusing = False

    def close(self) -> None:
        self._release.set()
        for opened in (self._listener, *self._open):
            shut(opened)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._refusing:
                    shut(client)
                    continue
                server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                try:
                    server.connect(str(self._socket))
                except OSError:
                    shut(client)
                    shut(server)
                    continue
                self._open += [client, server]
                cut = threading.Event()
                threading.Thread(target=self._to_server, args=(client, server, cut), daemon=True).start()
                threading.Thread(target=self._to_client, args=(client, server, cut), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 20):
                self.messages += 1
                if fault := self._strikes(data):
                    cut.set()
                    if fault is Fault.LOSE_ANSWER:
                        server.sendall(data)  # before the client notices the failure, and sends more
                    shut(client)
                    if self._then_refuse:
                        self.refuse()
                        self.cut(but=server)
                    self.struck.set()
                    if fault is Fault.DELAY:
                        self._release.wait()
                        server.sendall(data)
                    if fault is not Fault.SWALLOW:
                        return  # the other thread reads the server's answer
                    break
                server.sendall(data)
        shut(server)

    def _to_client(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 20):
                if cut.is_set():
                    if b"Z\x00\x00\x00\x05" in data:  # ReadyForQuery: the message is processed
                        self.done.set()
                        break
                    continue
                client.sendall(data)
        shut(client)
        shut(server)

    def _strikes(self, data: bytes) -> Fault | None:
        with self._lock:
            if self._armed is None or not self._armed[1](data):
                return None
            fault, self._armed = self._armed[0], None
            return fault


def commit_after(text: bytes) -> Matches:
    """Matches the first COMMIT behind a message with this text."""
    seen = False

    def matches(message: bytes) -> bool:
        nonlocal seen
        seen = seen or text in message
        return seen and is_commit(message)

    return matches


def is_commit(message: bytes) -> bool:
    return b"COMMIT;" in message


def shut(opened: socket.socket) -> None:
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)
    opened.close()
