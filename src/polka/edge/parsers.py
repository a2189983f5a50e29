"""Parsers of HTTP/1.1: one for each connection, and another that continues after an offered upgrade."""

from typing import TYPE_CHECKING

import httptools

if TYPE_CHECKING:
    from polka.edge.connections import Connection


def new_parser(protocol: object) -> httptools.HttpRequestParser:
    """A parser that continues after `Connection: close`.

    httptools mistakes a trailer of this name for the header, and would drop the next request. Polka finds the last
    request of a connection when its head is complete.
    """
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_keep_alive=True)
    return parser


def has_path(url: bytes) -> bool:
    try:
        return httptools.parse_url(url).path is not None
    except httptools.HttpParserInvalidURLError:
        return False


class Behind:
    """The callbacks of a parser that continues after a head which another parser has read."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self.is_head_known = True
        self.on_body = connection.on_body

    def on_message_begin(self) -> None:
        if not self.is_head_known:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self.is_head_known:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.is_head_known:
            self._connection.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self.is_head_known:
            self._connection.on_headers_complete()

    def on_message_complete(self) -> None:
        if self.is_head_known:
            self._connection.complete_message()
        else:
            self._connection.on_message_complete()
