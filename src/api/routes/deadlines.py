"""Deadlines of all routes in Litestar: a request is answered in time, and a longer read ends.

After its deadline a read is cancelled, together with its statement on the server. A running write is not cancelled,
because nobody would know its outcome. The write goes on, and its caller gets `outcome_unknown`. Routes that write
payments keep their own deadlines, because they know more precisely what was recorded.
"""

import asyncio
import logging
from typing import Any

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import RefusedError
from api.http.refusals import NOTHING_CHANGED, PERHAPS_CHANGED
from api.routes.requests import OWN_HEAD, check_encoding, read_deadline

log = logging.getLogger(__name__)


class Deadlines(ASGIMiddleware):
    """Sets `scope["deadline"]`, in the event loop's time, and enforces the deadline."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._running: set[asyncio.Task[None]] = set()

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        known: Any = scope
        check_encoding(known["fields"])
        known["deadline"] = deadline = read_deadline(known, self._timeout_seconds)
        if OWN_HEAD.keys() <= known["route_handler"].opt.keys():
            await next_app(scope, receive, send)
            return
        exchange = Exchange(receive, send)
        task = asyncio.ensure_future(next_app(scope, exchange.receive, exchange.send))
        self._running.add(task)
        task.add_done_callback(self._end)
        is_left = False
        try:
            seconds = deadline - asyncio.get_running_loop().time()
            await asyncio.wait((task, exchange.is_answered), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if task.done() or exchange.is_answered.done():
                await task
                return
            exchange.is_cut = True
            is_left = known["method"] != "GET" and not exchange.is_receiving
            raise RefusedError(PERHAPS_CHANGED if is_left else NOTHING_CHANGED)
        finally:
            if not is_left:
                task.cancel()

    def _end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("a request failed: %r", error)


class Exchange:
    """A request and its answer. After `is_cut` nothing more is sent."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.is_answered = asyncio.get_running_loop().create_future()
        self.is_cut = False
        self.is_receiving = False
        self._receive = receive
        self._send = send

    async def receive(self) -> Any:
        self.is_receiving = True
        message = await self._receive()
        self.is_receiving = False
        return message

    async def send(self, message: Message) -> None:
        if self.is_cut:
            return
        if not self.is_answered.done():
            self.is_answered.set_result(None)
        await self._send(message)
