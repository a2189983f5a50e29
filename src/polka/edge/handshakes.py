"""A connection before the end of its TLS handshake. The gate counts the connection, and its client has as much time as
for a head.

Event loops report a connection to a protocol only after the handshake. Therefore a plain protocol gets the connection
first, and starts the handshake on the same socket.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from ssl import SSLContext
from typing import Any

from uvicorn.protocols.utils import get_remote_addr
from uvicorn.server import ServerState

from polka.edge.bounds import Reason
from polka.edge.gate import Gate
from polka.edge.newcomers import Newcomer


class Handshake(asyncio.Protocol):
    """Ends, or is replaced by a newcomer."""

    is_idle = is_slow = False
    held_bytes = 0

    def __init__(
        self,
        encryption: SSLContext,
        gate: Gate,
        newcomer: Callable[..., Newcomer],
        server_state: ServerState,
        **of_uvicorn: Any,
    ) -> None:
        self._encryption = encryption
        self._gate = gate
        self._welcome = partial(newcomer, server_state=server_state, **of_uvicorn)
        self._connections: set[Any] = server_state.connections
        self._host: str | None = None

    @property
    def is_new(self) -> bool:
        return self in self._connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        remote = get_remote_addr(transport)
        self._host = remote[0] if remote else None
        try:
            self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        finally:
            transport.abort()  # this transport reads nothing, and the copy of its socket stays open
        loop = asyncio.get_running_loop()
        if reason := self._gate.enter(self, self._host, loop.time()):
            self._gate.refused(reason)  # in silence: the client understands no answer yet
            self._socket.close()
            return
        self._connections.add(self)
        self._task = loop.create_task(self._shake_hands(loop))

    async def _shake_hands(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            await loop.connect_accepted_socket(lambda: Secured(self), self._socket, ssl=self._encryption)
        except ConnectionResetError:
            pass  # the client has left
        except OSError:  # includes OpenSSL's errors
            self._gate.refused(Reason.HANDSHAKE)
        finally:
            self._leave()

    def succeed(self, transport: asyncio.Transport) -> None:
        self._leave()
        newcomer = self._welcome()
        transport.set_protocol(newcomer)
        newcomer.connection_made(transport)

    def _leave(self) -> None:
        if self in self._connections:
            self._connections.discard(self)
            self._gate.leave(self._host)

    def cut_off(self, _: float) -> None:
        self._gate.refused(Reason.HANDSHAKE)
        self.abort()

    def give_way(self) -> None:
        self.abort()

    def end_with_next_answer(self) -> None:
        """Nothing to do here. The later connection ends with its next answer."""

    def abort(self) -> None:
        self._task.cancel()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def shutdown(self) -> None:
        self.abort()


class Secured(asyncio.Protocol):
    """Learns of a completed handshake, before any other bytes are read."""

    def __init__(self, handshake: Handshake) -> None:
        self._handshake = handshake

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._handshake.succeed(transport)
