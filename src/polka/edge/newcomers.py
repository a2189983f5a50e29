"""A connection before its first complete head. It costs little, because most hostile clients send no more than this.

A newcomer has no parser and no check once a second, because the gate knows the order of newcomers. Most heads arrive in
one part, and a connection then parses the head. All bytes go to this connection unchanged. On Linux the kernel keeps
the first bytes until they could be a head. A client that sends one byte a second wakes no process.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from uvicorn.server import ServerState

from polka.edge.bounds import Reason
from polka.edge.connections import Connection
from polka.edge.gate import Gate
from polka.edge.patience import LINGER_SECONDS
from polka.edge.unfit import answer, too_many_connections, too_slow_a_head

HEAD_BYTES_MIN = len(b"GET / HTTP/1.0\n\n")
"""The shortest possible head."""
HELD_BYTES_MAX = 1024
"""A longer part of a head goes to a connection, with its parser."""
LEAVING_SECONDS = 1.0
"""The time that a newcomer stays open after it made room. A hostile client reopens a closed connection at once, and
would evict the next newcomer."""
LEAVING_MAX = 128
"""Newcomers that made room and are still open. Above this number, newcomers are closed at once."""


def await_heads(listening: Iterable[socket.socket]) -> None:
    """Make the kernel keep received bytes until they could be a head. Connections to these sockets inherit the
    option."""
    if sys.platform == "linux":
        for one in listening:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, HEAD_BYTES_MIN)


def may_begin_a_head(data: bytes) -> bool:
    return data[:1].isupper()


class Newcomer(asyncio.Protocol):
    """Ends, or is replaced by a connection."""

    __slots__ = (
        "_connect",
        "_ends_at",
        "_entered_at",
        "_gate",
        "_head",
        "_host",
        "_is_leaving",
        "_of_uvicorn",
        "_server_state",
        "_transport",
        "is_new",
        "is_slow",
    )
    is_idle = False

    def __init__(
        self, gate: Gate, connection: Callable[..., Connection], server_state: ServerState, **of_uvicorn: Any
    ) -> None:
        self._gate = gate
        self._connect = connection
        self._server_state: Any = server_state
        self._of_uvicorn = of_uvicorn
        self._host: str | None = None
        self._head = b""
        self._transport: Any = None
        self._entered_at = 0.0
        self._ends_at: float | None = None
        self._is_leaving = self.is_new = self.is_slow = False

    @property
    def held_bytes(self) -> int:
        return len(self._head)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        remote = transport.get_extra_info("peername")
        self._host = remote[0] if isinstance(remote, tuple) else None
        gate = self._gate
        now = asyncio.get_running_loop().time()
        self._entered_at = now - gate.stalled_seconds
        if reason := gate.enter(self, self._host, now):
            gate.refused(reason)
            transport.write(answer(too_many_connections(reason), self._server_state.default_headers, None))
            transport.close()
            return
        self._transport = transport
        self.is_new = True
        self._server_state.connections.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        if self._transport is not None:
            self._leave()
            if self._is_leaving:
                self._gate.leaving -= 1
            else:
                self._gate.leave(self._host)

    def data_received(self, data: bytes) -> None:
        if not self.is_new:  # ending, or rejected
            return
        if not self._head:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self._head = head = self._head + data
        if b"\n\r\n" in head or len(head) > HELD_BYTES_MAX or not may_begin_a_head(head) or b"\n\n" in head:
            self._give_place()

    def _give_place(self) -> Connection:
        transport, head = self._transport, self._head
        self._leave()
        connection = self._connect(server_state=self._server_state, **self._of_uvicorn)
        transport.set_protocol(connection)
        connection.take_place(transport, self._host, self._entered_at + self._gate.stalled_seconds, head)
        return connection

    def _leave(self) -> None:
        self._server_state.connections.discard(self)
        self.is_new = self.is_slow = False
        self._transport = None
        self._head = b""

    def cut_off(self, now: float) -> None:
        """End a newcomer without a complete head in time. A client that has sent a part of a head gets an answer."""
        if not self._head:
            self._read_kept()
        if self._head and (b"\n" in self._head or not may_begin_a_head(self._head)):
            self._give_place().cut_if_late(now, 0.0)  # the connection can answer
            return
        self._gate.refused(Reason.HEAD_TIMEOUT)
        self.is_new, self.is_slow = False, True
        if self._head:
            self._transport.write(answer(too_slow_a_head(), self._server_state.default_headers, None))
        if self._head and self._transport.can_write_eof():
            self._transport.write_eof()  # a client that is still sending could lose the answer otherwise
        else:
            self._transport.close()

    def _read_kept(self) -> None:
        """Read the bytes that the kernel keeps and the event loop never gets."""
        if self._transport.get_extra_info("sslcontext"):
            return  # the kernel keeps nothing here, and the bytes are encrypted
        with suppress(OSError):
            self._head = os.read(self._transport.get_extra_info("socket").fileno(), HEAD_BYTES_MIN)

    def cut_if_late(self, now: float, stalled_seconds: float) -> None:
        """End a client that was told to leave."""
        self._ends_at = now + LINGER_SECONDS if self._ends_at is None else self._ends_at + stalled_seconds
        if now >= self._ends_at:
            self.abort()

    def give_way(self) -> None:
        """Make room at once, and close the connection a little later."""
        if self._gate.leaving >= LEAVING_MAX:
            self.abort()
            return
        self._is_leaving, self.is_new = True, False
        self._gate.leaving += 1
        self._gate.leave(self._host)
        asyncio.get_running_loop().call_later(LEAVING_SECONDS, self._transport.abort)

    def abort(self) -> None:
        self.is_new = False
        self._transport.abort()

    def end_with_next_answer(self) -> None:
        """Nothing to do here. The later connection ends with its next answer."""

    def shutdown(self) -> None:
        self._transport.close()
