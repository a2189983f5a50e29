"""The outgoing bytes of a connection: small parts together, and a large answer in pieces."""

import asyncio

PIECE_BYTES = 64 * 1024
"""The transport keeps little more than this for a client that does not read."""


class Outgoing:
    """The part of a transport that uvicorn needs for answers. Head and body, two writes of uvicorn, leave in one system
    call.

    No timer waits for more bytes: all written bytes are sent in the event loop's next round. From a large body the
    transport gets only the next piece. The rest is not copied, so all readers of the same page share it.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.is_paused = False
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes | memoryview] = []
        self.waiting_bytes = 0
        self._closes = False

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)
        self.waiting_bytes += len(data)

    def flush(self) -> None:
        """Give the transport as many bytes as it takes now."""
        if self._transport.is_closing():
            self._parts.clear()
            return
        if self.waiting_bytes > PIECE_BYTES or self.is_paused:
            self._write_pieces()
        elif self._parts:
            self._transport.write(b"".join(self._parts))
            self._parts.clear()
            self.waiting_bytes = 0
        if self._closes and not self._parts:
            self._transport.close()

    def _write_pieces(self) -> None:
        while self._parts and not self.is_paused:
            first = memoryview(self._parts[0])
            piece, rest = first[:PIECE_BYTES], first[PIECE_BYTES:]
            self._parts[:1] = [rest] if rest else []
            self.waiting_bytes -= len(piece)
            self._transport.write(bytes(piece))

    def close(self) -> None:
        """Close the connection after the transport has all bytes."""
        self._closes = True
        self.flush()

    def is_closing(self) -> bool:
        return self._closes or self._transport.is_closing()
