"""Who looks after the processes of `polka up`: nothing that goes wrong with one ends him."""

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from polka.local.postgres import DATA, UNFINISHED, Programs, Server
from polka.local.processes import Process
from polka.local.up import keep_running
from polka.service.failure import Failure
from waiting import WAIT_SECONDS

pytestmark = pytest.mark.anyio


async def test_a_postgres_that_ends_without_a_word_is_one_clear_line(tmp_path: Path) -> None:
    program = tmp_path / "postgres"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    server = Server(Programs(tmp_path, "a broken one", None), tmp_path)
    with pytest.raises(Failure, match=r"^Postgres did not start: it ended without a word"):
        await server.start()


def new_server(folder: Path, initdb: str) -> Server:
    """A Postgres whose `initdb` is this script. `$folder` is the folder that it fills."""
    program = folder / "initdb"
    program.write_text(f"#!/bin/sh -e\nfolder=${{1#--pgdata=}}\n{initdb}\n")
    program.chmod(0o755)
    return Server(Programs(folder, "a script", None), folder)


async def test_a_database_that_is_interrupted_is_made_again(tmp_path: Path) -> None:
    (tmp_path / UNFINISHED).mkdir(mode=0o700)
    (tmp_path / UNFINISHED / "PG_VERSION").write_text("of a start that a power cut has ended")
    server = new_server(tmp_path, "rmdir $folder\nmkdir -m 700 $folder\necho whole >$folder/PG_VERSION")
    server.initialise()
    server.initialise()
    assert (tmp_path / DATA / "PG_VERSION").read_text() == "whole\n"
    assert not (tmp_path / UNFINISHED).exists()


async def test_an_initdb_that_is_killed_leaves_no_part_of_a_database(tmp_path: Path) -> None:
    server = new_server(tmp_path, "touch $folder/PG_VERSION\nkill -9 $$")
    with pytest.raises(Failure, match=r"^Postgres could not make \S+/postgres: it ended without a word$"):
        server.initialise()
    assert list((tmp_path / DATA).iterdir()) == []
    assert not (tmp_path / UNFINISHED).exists()


async def test_an_initdb_ends_with_its_polka_up(tmp_path: Path) -> None:
    """Otherwise it would work in the folder beside the `initdb` of the next start."""
    new_server(tmp_path, f"echo $$ >{tmp_path}/new\nmv {tmp_path}/new {tmp_path}/pid\nexec sleep 600")
    with subprocess.Popen([sys.executable, "-c", INITIALISE, tmp_path]) as polka_up:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while not (tmp_path / "pid").exists():
                    await asyncio.sleep(0.01)
        finally:
            polka_up.kill()
    initdb = psutil.Process(int((tmp_path / "pid").read_text()))
    with suppress(psutil.NoSuchProcess):
        initdb.wait(WAIT_SECONDS)


INITIALISE = """
import sys
from pathlib import Path
from polka.local.postgres import Programs, Server
folder = Path(sys.argv[1])
Server(Programs(folder, "a script", None), folder).initialise()
"""


async def test_ctrl_c_is_no_signal_for_initdb(tmp_path: Path) -> None:
    """Otherwise the user would get an error of `initdb` instead of the usual end."""
    server = new_server(tmp_path, "cut -d ' ' -f 5 /proc/$$/stat >$folder/PG_VERSION")
    server.initialise()
    assert int((tmp_path / DATA / "PG_VERSION").read_text()) != os.getpgrp()


class Unlucky(Process):
    """It fails to start in a way that nobody thought of, twice."""

    starts = 0

    async def start(self) -> None:
        self.starts += 1
        if 2 <= self.starts <= 3:
            raise IndexError("nobody thought of this")
        await super().start()


async def test_a_process_is_started_again_whatever_went_wrong_before() -> None:
    said: list[str] = []
    process = Unlucky("unlucky", ["/bin/sleep", "600"], "nowhere")
    await process.start()
    keeper = asyncio.create_task(keep_running(process, said.append))
    assert process.running
    process.running.kill()
    async with asyncio.timeout(WAIT_SECONDS):
        while not any("runs again" in line for line in said):
            await asyncio.sleep(0.01)
    assert [line for line in said if "nobody thought of this" in line] == [
        "unlucky did not start: nobody thought of this"
    ] * 2
    keeper.cancel()
    await process.stop()


async def test_a_process_is_started_again_if_nobody_can_be_told() -> None:
    told = 0

    def say(_: str) -> None:
        nonlocal told
        told += 1
        raise BrokenPipeError

    process = Process("lonely", ["/bin/sleep", "600"], "nowhere")
    await process.start()
    keeper = asyncio.create_task(keep_running(process, say))
    first = process.running
    process.kill()
    async with asyncio.timeout(WAIT_SECONDS):
        while told < 2 and not keeper.done():
            await asyncio.sleep(0.01)
    assert process.running is not first
    assert process.pid
    keeper.cancel()
    await process.stop()
