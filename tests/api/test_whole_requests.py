"""The client of the tests sends a request in one piece: only so do tests of payments try the direct lane."""

import socket
import threading

import httpx
import pytest

from services import client
from whole import AsyncTransport, Connection

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"


@pytest.fixture
def pieces() -> tuple[str, list[bytes]]:
    """A server's address, and what it has read at first from each connection."""
    listening, pieces = socket.create_server(("127.0.0.1", 0)), list[bytes]()

    def answer() -> None:
        with listening, listening.accept()[0] as connection:
            pieces.append(connection.recv(1 << 16))
            connection.sendall(ANSWER)

    threading.Thread(target=answer, daemon=True).start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}", pieces


def test_a_request_is_one_piece(pieces: tuple[str, list[bytes]]) -> None:
    url, sent = pieces
    assert client.post(url, json=[1]).json() == {}
    assert sent[0].endswith(b"\r\n\r\n[1]")


def test_a_request_of_the_standard_library_is_one_piece(pieces: tuple[str, list[bytes]]) -> None:
    url, sent = pieces
    connection = Connection("127.0.0.1", httpx.URL(url).port, timeout=10)
    connection.request("POST", "/", b"[1]", {"X-Test": "1"})
    assert connection.getresponse().read() == b"{}"
    connection.close()
    assert sent[0].endswith(b"\r\n\r\n[1]")


@pytest.mark.anyio
async def test_a_request_of_asyncio_is_one_piece(pieces: tuple[str, list[bytes]]) -> None:
    url, sent = pieces
    async with httpx.AsyncClient(transport=AsyncTransport()) as own:
        assert (await own.post(url, json=[1])).json() == {}
    assert sent[0].endswith(b"\r\n\r\n[1]")
