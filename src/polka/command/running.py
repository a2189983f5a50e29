"""How commands run: to their end, or until they are stopped."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from polka.command.terminal import say

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], interrupted: int = 130) -> T:
    """Run to the end; Ctrl-C or SIGTERM stop it in order, and the exit code is `interrupted` then."""

    async def until_stopped() -> T:
        task = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel if task else sys.exit)
        return await work

    try:
        return asyncio.run(until_stopped())
    except asyncio.CancelledError:
        say("Stopped.")
        sys.exit(interrupted)
