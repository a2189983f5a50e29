"""Who looks after the processes of `polka up`: nothing that goes wrong with one ends him."""

import asyncio
from pathlib import Path

import pytest

from polka.local.postgres import Programs, Server
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
