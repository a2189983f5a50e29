"""Both clients with the same interface: the asynchronous client is driven from outside its event loop."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from polka.client import AsyncClient

Connect = Callable[..., Any]


class Driven:
    """An asynchronous client, driven from outside its event loop."""

    def __init__(self, runner: asyncio.Runner, client: AsyncClient) -> None:
        self._runner = runner
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def run(*positional: Any, **named: Any) -> Any:
            made = method(*positional, **named)
            if inspect.iscoroutine(made):
                return self._runner.run(made)
            return self._items(made)

        return run

    def _items(self, iterator: Any) -> Iterator[Any]:
        while True:
            try:
                yield self._runner.run(anext(iterator))
            except StopAsyncIteration:
                return


@contextmanager
def driven(*positional: Any, **named: Any) -> Iterator[Driven]:
    with asyncio.Runner() as runner:
        client = AsyncClient(*positional, **named)
        yield Driven(runner, client)
        runner.run(client.close())
