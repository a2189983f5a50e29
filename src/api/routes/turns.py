"""Turns: bodies of bulk requests are decoded one at a time, in turn by bank, so that payments go on between them.

A body of 1,000 payments keeps the event loop busy for milliseconds before anything of it waits in a queue. So a bank
may have only some bulk requests under way, and others of it wait before their bodies are read.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.posting.shares import Shares
from api.routes.requests import Head

UNDER_WAY_MAX = 4
"""Bulk requests of one bank whose bodies are in memory: they are read, or wait for their commit."""


class Waiter:
    """A request that waits for its turn."""

    size = 1

    def __init__(self, bank: str) -> None:
        self.bank = bank
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Places:
    """The places of one bank, and how many requests have or want one."""

    def __init__(self) -> None:
        self.free = asyncio.Semaphore(UNDER_WAY_MAX)
        self.wanted = 0


class Turns:
    """Which bulk requests are under way, whose turn it is, and who is next."""

    def __init__(self) -> None:
        self._places: dict[str, Places] = {}
        self._waiting: Shares[Waiter] = Shares(batch_size_max=1, payments_max=1)
        self._is_taken = False

    @asynccontextmanager
    async def place(self, head: Head) -> AsyncIterator[None]:
        """Wait for one of the bank's places, and keep it.

        Raises:
            RefusedError: the caller's time is up.
        """
        bank = head.caller.share
        places = self._places.setdefault(bank, Places())
        places.wanted += 1
        try:
            await head.in_time(places.free.acquire())
            try:
                yield
            finally:
                places.free.release()
        finally:
            places.wanted -= 1
            if not places.wanted:
                del self._places[bank]

    @asynccontextmanager
    async def turn(self, head: Head) -> AsyncIterator[None]:
        """Wait for the bank's turn, and take it. A pause follows that is as long as the processor was busy in the turn:
        at least half of its time is for payments.

        Raises:
            RefusedError: the caller's time is up.
        """
        if self._is_taken:
            await head.in_time(self._wait(Waiter(head.caller.share)))
        self._is_taken = True
        began = time.thread_time()
        try:
            yield
        finally:
            asyncio.get_running_loop().call_later(time.thread_time() - began, self._pass_on)

    async def _wait(self, waiter: Waiter) -> None:
        self._waiting.put(waiter)
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if not waiter.turn.cancelled():  # it has come meanwhile, and nobody takes it
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting.payments:
            [waiter] = self._waiting.take()
            if not waiter.turn.done():
                waiter.turn.set_result(None)
                return
        self._is_taken = False
