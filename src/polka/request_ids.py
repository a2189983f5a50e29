"""Request ids: each request has one, its client's or one of ours; it is in the answer's head, and in what is logged."""

import itertools
import re
import secrets
from collections.abc import Awaitable
from typing import Any

from litestar.types import ASGIApp, Message, Receive, Send

from polka.logs import request_id

HEADER = b"x-request-id"
SANE = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


class IdentifyRequests:
    """Gives each request its id.

    A header of the client's that is no sane id is as none. Ours are a random number of this process and a count: a
    random number each would take as long as all the rest.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._prefix = secrets.token_hex(8).encode()
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        for name, value in scope["headers"]:
            if name == HEADER and SANE.fullmatch(value):
                own = value
                break
        else:
            own = b"%b-%x" % (self._prefix, next(self._numbers))
        request_id.set(own.decode())

        def send_with_id(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (HEADER, own)]
            return send(message)

        await self._app(scope, receive, send_with_id)
