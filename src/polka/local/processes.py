"""A child process of Polka: ends with its parent, stops politely, and is killed if necessary."""

import asyncio
import contextlib
import ctypes
import os
import pwd
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from polka.local import environment, private
from polka.service.failure import Failure

START_SECONDS = 60.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.05
PYTHON = (sys.executable, "-P")
"""Starts Python without importing modules from the working directory."""


async def at_once() -> bool:
    return True


@dataclass
class Process:
    """A program under the care of `polka up`. `user` is its user, if other than ours. `monitored_at` is the address of
    its metrics and health.

    We bind its `sockets` and hand them on. Every successor listens on the same sockets, and no other process on this
    machine can take their ports in between. `environ` is added to the environment that it `inherits`.
    """

    name: str
    command: Sequence[str]
    address: str
    monitored_at: str | None = None
    is_ready: Callable[[], Awaitable[bool]] = at_once
    environ: Mapping[str, str] = field(default_factory=dict)
    inherits: Callable[[], Mapping[str, str]] = environment.of_services
    sockets: Sequence[socket.socket] = ()
    user: str | None = None
    output: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    running: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self.running.pid if self.running and self.running.returncode is None else None

    async def start(self) -> None:
        """Start the process and wait until it can serve.

        Raises:
            Failure: the process ended, or is not ready within a minute.
        """
        await self._spawn()
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await self.is_ready():
                    if self.pid is None:
                        raise Failure(f"{self.name} ended at once.")
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise Failure(f"{self.name} was not ready within {START_SECONDS:.0f} s.") from None

    async def _spawn(self) -> None:
        account = pwd.getpwnam(self.user) if self.user else None
        with contextlib.ExitStack() as files:
            output = files.enter_context(private.appended(self.output)) if self.output else None
            self.running = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/" if account else None,
                env={**self.inherits(), **self.environ},
                pass_fds=[bound.fileno() for bound in self.sockets],
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
                start_new_session=True,  # only `polka up` gets Ctrl-C, and stops the others in order
                preexec_fn=end_with(os.getpid(), self.stop_signal),
            )

    async def wait(self) -> int:
        """The exit code after the end; below zero for the signal that killed the process."""
        if self.running is None:
            raise RuntimeError(f"{self.name} was never started")
        return await self.running.wait()

    def kill(self) -> None:
        """Kill the process, like a fault. `keep_running` starts it again."""
        if self.running is not None and self.running.returncode is None:
            self.running.kill()

    async def stop(self) -> None:
        """Ask the process to end. After 30 s it is killed."""
        if self.running is None or self.running.returncode is not None:
            return
        self.running.send_signal(self.stop_signal)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self.running.wait()
        except TimeoutError:
            self.kill()
            await self.running.wait()


def end_with(parent: int, by: signal.Signals) -> Callable[[], None] | None:
    """A function that a child runs before its program, so that the child gets the signal when its parent dies (Linux
    only)."""
    if sys.platform != "linux":
        return None
    set_option = ctypes.CDLL(None, use_errno=True).prctl
    parent_death_signal = 1

    def ask() -> None:
        set_option(parent_death_signal, by)
        if os.getppid() != parent:
            os.kill(os.getpid(), by)

    return ask
