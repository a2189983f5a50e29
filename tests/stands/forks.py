"""A `polka up` for tests. It forks its services from itself, because its process has imported most of their code, and
copies the files of its Postgres.

Each service is still its own process, with the given environment and sockets, and is really killed.
"""

import asyncio
import contextlib
import fcntl
import gc
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from memory import folder_of_run

OWN = ("-m", "polka")
CAN_FORK = hasattr(os, "pidfd_open")
execute, run_once = asyncio.create_subprocess_exec, subprocess.run
PGDATA = "--pgdata="
NOTHING: Any = contextlib.nullcontext()


@contextmanager
def services_are_forked() -> Iterator[None]:
    with patch("subprocess.run", run), patch("asyncio.create_subprocess_exec", start) if CAN_FORK else NOTHING:
        yield


def run(command: Sequence[Any], **options: Any) -> Any:
    """Copy the result of an `initdb` with the same options in this run of the tests, and run all other programs."""
    program, *words = map(str, command)
    if Path(program).name != "initdb" or not (folder := folder_of_run()):
        return run_once(command, **options)
    [data] = [word.removeprefix(PGDATA) for word in words if word.startswith(PGDATA)]
    name = "-".join(["initialised", *(word.strip("-") for word in words if not word.startswith(PGDATA))])
    made = folder / name
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            done = run_once(command, **options)
            if not done.returncode:
                part = folder / f"{name}.{os.getpid()}"
                run_once(["cp", "-a", data, part], check=True)
                part.rename(made)
            return done
    return run_once(["cp", "-a", f"{made}/.", data], capture_output=True, text=True)


async def start(*command: str, **options: Any) -> Any:
    """Fork parts of Polka, and execute all other programs."""
    if command[0] != sys.executable or command[2:4] != OWN:
        return await execute(*command, **options)
    return fork(command[4:], options["env"], options["pass_fds"], options["preexec_fn"])


class Forked:
    """A forked process, with the part of `asyncio.subprocess.Process` for `polka up`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._has_ended = asyncio.Event()
        self._descriptor = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._descriptor, self._reap)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._has_ended.set()

    async def wait(self) -> int | None:
        await self._has_ended.wait()
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def fork(words: Sequence[str], environ: Mapping[str, str], kept: Sequence[int], prepare: Callable[[], None]) -> Forked:
    """Start `polka` with these words in its own session. The child keeps only these files, and our outputs."""
    for file in (sys.stdout, sys.stderr):
        file.flush()
    if pid := os.fork():
        return Forked(pid)
    code: Any = 1
    try:
        gc.freeze()  # no garbage collection of our objects: their files have the same numbers as files of the child
        os.setsid()
        close_all_but(kept)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        prepare()
        code = be(words, environ)
    except BaseException:
        traceback.print_exc()
    finally:
        for file in (sys.stdout, sys.stderr):
            file.flush()
        os._exit(code)  # not up through the frames of our parent


def close_all_but(kept: Sequence[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):  # the directory's own descriptor is closed already
                os.close(int(name))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def be(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run `polka`, and return its exit code."""
    from polka.command.main import main

    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["polka", *words]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
