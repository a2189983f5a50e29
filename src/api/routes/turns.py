"""Turns: bodies of bulk requests are decoded one at a time, in turn by bank, so that payments go on in between.

A body of 1,000 payments occupies the event loop for milliseconds before its payments are queued. Therefore the number
of bulk requests of a bank under way is limited. Further requests of the bank wait before their bodies are read.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.posting.shares import Shares
from api.routes.requests import Head

UNDER_WAY_MAX = 4
"""Bulk requests of a bank with bodies in memory: being read, or waiting for their commit."""


class Waiter:
    """A waiting request."""

    size = 1

    def __init__(self, bank: str) -> None:
        self.bank = bank
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Places:
    """The places of a bank, and the number of requests that have or want a place."""

    def __init__(self) -> None:
        self.free = asyncio.Semaphore(UNDER_WAY_MAX)
        self.wanted = 0


class Turns:
    """The bulk requests under way, the current turn, and the waiting requests."""

    def __init__(self) -> None:
        self._places: dict[str, Places] = {}
        self._waiting: Shares[Waiter] = Shares(batch_size_max=1, payments_max=1)
        self._is_taken = False

    @asynccontextmanager
    async def place(self, head: Head) -> AsyncIterator[None]:
        """Wait for one of the bank's places, and keep the place.

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
        """Wait for the bank's turn, and take the turn. A pause follows that is as long as the turn's processor time, so
        at least half of the time is for payments.

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
            if not waiter.turn.cancelled():  # the turn has come meanwhile: pass on
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting.payments:
            [waiter] = self._waiting.take()
            if not waiter.turn.done():
                waiter.turn.set_result(None)
                return
        self._is_taken = False
