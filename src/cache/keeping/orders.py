"""Orders: work between two flushes, one order after the other, over the flushes' connection."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from polka.store.database import Connection

ORDERS_MAX = 16

T = TypeVar("T")


class NotServingError(Exception):
    """The cache is starting, or has too many orders. The requested work was not begun."""


class Orders:
    """A bounded queue of orders."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Order] = asyncio.Queue(ORDERS_MAX)

    async def do(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """The result of the work, which is done between two flushes.

        Raises:
            NotServingError: the work was not begun.
        """
        order = Order(work)
        try:
            self._queue.put_nowait(order)
        except asyncio.QueueFull:
            raise NotServingError from None
        result: T = await order.outcome
        return result

    async def follow(self, connection: Connection, until: float) -> None:
        """Do orders, one after the other, until the next flush is due.

        The orders that are queued now are done in any case, even if the flush is late.
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
        """Fail the remaining orders."""
        while not self._queue.empty():
            self._queue.get_nowait().fail(NotServingError())


class Order:
    """Work between two flushes, and the future of its result."""

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
