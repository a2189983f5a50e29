"""`polka demo`: the main job from nothing to the cleared window and the proof, in a temporary folder.

With an endless number of payments, the demo continues until Ctrl-C, and then ends in the same way.
"""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from polka.audit import snapshot
from polka.audit.snapshot import Audit
from polka.client import AsyncClient, ClientError
from polka.edge import server
from polka.local import environment, private, spam
from polka.local.kept_keys import console_url
from polka.local.processes import end_with
from polka.local.up import HOST, Held, Layout, Running, up
from polka.rules.keys import NewKey, Scope
from polka.rules.windows import Report
from polka.service.failure import Failure
from polka.store import api_keys, database, seed

BANKS, ACCOUNTS = 20, 1_000
VARIETY = ("--currencies=USD,EUR,JPY", "--across=0.1", "--terms=4")
"""Of payments and terms."""
WATCHED_SCHEDULE = "*/30 * * * * *"
"""While a user watches, a window is closed and settled each half minute."""
SPAMMER = NewKey("spammer", scopes=(Scope.TRANSACTIONS_WRITE, Scope.TRANSACTIONS_READ, Scope.BANKS_WRITE))
"""The spammer pays, reads its payments, and agrees terms."""
POSTED_SECONDS = 30.0
NETTED_SECONDS = 30.0
PORT_TRIES = 20
PORTS = range(10_000, 32_000)
"""Below the ports that systems give to connections."""
PORTS_OF_LAYOUT = 16
"""More than the ports of a layout: its port and the ports above."""
UNPOSTED = "SELECT count(*) FROM batches WHERE state = 'unposted'"


@dataclass(frozen=True)
class Payments:
    """The payments to send. A `count` of 0 means payments without end until Ctrl-C. A `rate` of 0 means the highest
    rate."""

    count: int
    rate: float
    max_workers: int

    @property
    def are_watched(self) -> bool:
        return self.count == 0

    def options(self) -> list[str]:
        """The spammer's options."""
        return [f"--transactions={self.count}", f"--rate={self.rate}", "--progress=bar"]


async def demo(
    payments: Payments,
    apis: int,
    database_url: str | None,
    say: Callable[[str], None],
    show: Callable[[Running], None],
    show_cleared: Callable[[Report], None],
) -> tuple[bool, Audit]:
    """Start everything, send the payments, clear, and audit. Returns whether all payments went well, and the audit.

    Raises:
        Failure: a part does not start.
    """
    spam.locust()  # fails early without Locust
    os.environ.setdefault("POLKA_RATES_URL", "")  # the demo needs no network
    if payments.are_watched:
        os.environ.setdefault("POLKA_CLEARING_SCHEDULE", WATCHED_SCHEDULE)
    with tempfile.TemporaryDirectory(prefix="polka-demo-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Postgres may run as another user
        layout = free_layout(apis, folder, database_url)
        async with up(layout, say) as running:
            show(running)
            await seed.seed(running.database_url, BANKS, ACCOUNTS)
            async with database.session(running.database_url) as connection:
                key = await api_keys.create_operators(connection, "demo")
                await api_keys.create(connection, spammers_key := api_keys.new_key(), SPAMMER)
            announce(payments, layout, key, say)
            went_well = await send(payments, layout.url, spammers_key, folder)
            await clear(layout.url, key, show_cleared)
            await posted(running.database_url)
            return went_well, await snapshot.audit(running.database_url, running.cache_url, running.cache_token)


def announce(payments: Payments, layout: Layout, key: str, say: Callable[[str], None]) -> None:
    """Report the payments and where to watch. The key ends with the demo, and is shown only where nobody else can read
    it."""
    if payments.are_watched:
        if layout.database_url:
            say(f"Watch it: {layout.url}/console")
        elif sys.stdout.isatty():
            say(f"Watch it: {console_url(layout.url, key)}")
        else:
            file = layout.folder / "console-key"
            private.write(file, key)
            say(f"Watch it: {layout.url}/console, with the key in {file}, which you alone can read.")
        say(f"Sending {payments.rate:,g} payments a second until Ctrl-C …")
    else:
        say(f"Sending {payments.count:,} payments with {payments.max_workers} workers …")
        say("Four of the banks have a net debit cap: Polka rejects payments beyond the cap as cap_exceeded.")


async def send(payments: Payments, url: str, key: str, folder: Path) -> bool:
    """Send the payments with the spammer. Returns whether all went well. Ctrl-C ends watched payments, and the proof
    follows."""
    options = [*payments.options(), f"--accounts={ACCOUNTS // BANKS}", "--skew=0.7", *VARIETY]
    spamming = await asyncio.create_subprocess_exec(
        *spam.Spam(url, payments.max_workers, 1, options).command(),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        env=environment.of_spammer(key),
        start_new_session=True,  # only this process gets Ctrl-C
        preexec_fn=end_with(os.getpid(), signal.SIGTERM),
    )
    try:
        return await spamming.wait() == 0
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            spamming.terminate()
        task = asyncio.current_task()
        if not payments.are_watched or task is None:
            raise
        task.uncancel()
        return await spamming.wait() == 0


async def clear(url: str, key: str, show_cleared: Callable[[Report], None]) -> None:
    """Close the open window with all payments, settle the window, and show the report.

    Raises:
        Failure: the api refuses, or the netting figures are not computed in time.
    """
    try:
        async with AsyncClient(url, key) as client:
            window = (await anext(client.windows(page_size=1))).id
            await client.close_window(window)
            await client.settle_window(window)
            async with asyncio.timeout(NETTED_SECONDS):
                while (report := await client.window(window)).netting is None:
                    await asyncio.sleep(0.1)
    except ClientError as error:
        raise Failure(str(error)) from None
    except TimeoutError:
        raise Failure("The cache does not work out what clearing saves.") from None
    show_cleared(report)


def free_layout(apis: int, folder: Path, database_url: str | None) -> Layout:
    """A layout with unused ports next to each other."""
    for _ in range(PORT_TRIES):
        port = free_port()
        layout = Layout(apis, port, None, folder, database_url)
        with contextlib.suppress(Failure), Held.bound(layout):
            return layout
    raise Failure("No free ports were found.")


def free_port() -> int:
    """An unused port. This port and the next ports of a layout are not returned again soon."""
    while True:
        port = next(candidates)
        with contextlib.suppress(Failure), server.listen(HOST, port):
            return port


def in_turn(ports: range) -> Iterator[int]:
    """The first ports of layouts, without end, from a random port on."""
    firsts = ports[::PORTS_OF_LAYOUT]
    start = random.randrange(len(firsts))  # noqa: S311
    return itertools.cycle([*firsts[start:], *firsts[:start]])


candidates = in_turn(PORTS)


async def posted(database_url: str) -> None:
    """Wait until the cache has posted all commits."""
    connection = await database.reach(database_url)
    try:
        async with asyncio.timeout(POSTED_SECONDS):
            while await connection.fetchval(UNPOSTED):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise Failure("The cache does not post what was committed.") from None
    finally:
        await connection.close()
