"""The connections to the api: each request is one piece on a kept connection.

Locust's own client costs twice as much, because the client splits the address, merges headers and keeps cookies for
each request.
"""

from typing import Any
from urllib.parse import urlsplit

from geventhttpclient.connectionpool import ConnectionPool, SSLConnectionPool
from geventhttpclient.response import HTTPParseError, HTTPSocketPoolResponse

from polka import __version__
from spammer.outcome import Answer
from spammer.trust import verified

FAILURES = (OSError, HTTPParseError)
"""No answer: the api is not reached, is silent, or ends the connection."""
BLOCK_BYTES = 65_536
OF_A_REQUEST = ("idempotency-key", "content-length")


class Wire:
    """Connections to one api, `size` at most. A request waits for a free connection."""

    def __init__(self, url: str, size: int, headers: dict[str, str], options: Any) -> None:
        parts = urlsplit(url)
        host, is_encrypted = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if is_encrypted else 80)
        bounds = {
            "size": size,
            "connection_timeout": options.connect_timeout,
            "network_timeout": options.client_timeout,
        }
        self._pool = (
            SSLConnectionPool(host, port, host, port, ssl_context_factory=verified, **bounds)
            if is_encrypted
            else ConnectionPool(host, port, host, port, **bounds)
        )
        self._prefix = parts.path.rstrip("/")
        fields = {
            "host": parts.netloc.rpartition("@")[2],
            "user-agent": f"polka-spam/{__version__}",
            "content-type": "application/json",
            **{name.lower(): value for name, value in headers.items()},
        }
        self._fields = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if name not in OF_A_REQUEST)

    def exchange(self, method: str, path: str, idempotency_key: str, body: bytes) -> Answer:
        """The answer to a request. Redirects are not followed, because the key goes to this api alone.

        Raises:
            OSError, HTTPParseError: there is no answer.
        """
        head = (
            f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._fields}"
            f"idempotency-key: {idempotency_key}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        response = self._send(method, head.encode("latin-1") + body)
        text = response.read().decode("utf-8", "replace")
        return Answer(response.status_code, text)

    def _send(self, method: str, request: bytes) -> HTTPSocketPoolResponse:
        connection = self._pool.get_socket()
        try:
            connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the answer to a rejected long request is already here
        except BaseException:
            self._pool.release_socket(connection)
            raise
        return HTTPSocketPoolResponse(connection, self._pool, method=method, block_size=BLOCK_BYTES)

    def close(self) -> None:
        self._pool.close()
