"""Orders: what is done between two flushes, one after the other, over the same connection."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from polka.store.database import Connection

ORDERS_MAX = 16

T = TypeVar("T")


class NotServingError(Exception):
    """The cache is starting, or has too much to do: what it was asked for was not begun."""


class Orders:
    """A queue of orders, with a bound."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Order] = asyncio.Queue(ORDERS_MAX)

    async def do(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Have the work done between two flushes; what it gives.

        Raises:
            NotServingError: it was not begun.
        """
        order = Order(work)
        try:
            self._queue.put_nowait(order)
        except asyncio.QueueFull:
            raise NotServingError from None
        result: T = await order.outcome
        return result

    async def follow(self, connection: Connection, until: float) -> None:
        """Do what is asked for, one order after the other, until it is time for the next flush.

        The orders that are queued by now are done first, however late the flush has become.
        """
        for _ in range(self._queue.qsize()):
            await follow_order(connection, self._queue.get_nowait())
        while (seconds := until - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(seconds):
                    order = await self._queue.get()
            except TimeoutError:
                return
            await follow_order(connection, order)

    def forgo(self) -> None:
        """Fail the orders that were not begun."""
        while not self._queue.empty():
            self._queue.get_nowait().fail(NotServingError())


class Order:
    """What is to be done between two flushes, and the future of what it gives."""

    def __init__(self, work: Callable[[Connection], Awaitable[Any]]) -> None:
        self.work = work
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def fail(self, error: BaseException) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)


async def follow_order(connection: Connection, order: Order) -> None:
    try:
        result = await order.work(connection)
    except BaseException as error:
        order.fail(error)
        raise
    if not order.outcome.done():
        order.outcome.set_result(result)
