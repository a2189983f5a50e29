"""A storm: clients pay while processes are killed and frozen at random; afterwards everything must add up.

    python tests/stands/crash.py --kills 1000 --seed 1

Four clients pay, also across currencies, amend, delete and send in bulk, with idempotency keys. They repeat requests
without an answer. One bank has a fee, another bank has a cap. A fifth client closes the clearing window five times a
second, and settles most windows.

Meanwhile an api, the cache or Postgres (with all its processes) gets SIGKILL, or SIGSTOP and later SIGCONT. In the end
each acknowledged request must have done its work exactly once, and each unknown request at most once. Requests answered
with "nothing was recorded" or refused for the cap must have done nothing. The audit must be clean, in the end and in
every background run. The last line has the counts. The exit code is 0 if nothing was lost or doubled. Otherwise the
exit code is 1, and the output of the services is shown, and stays in a file.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
from rich.progress import Progress

from polka.audit import runs, snapshot
from polka.local.demo import free_layout, posted
from polka.local.processes import Process
from polka.local.up import Running, up
from polka.rules.audits import Run
from polka.rules.policy import INTEREST_BASIS_POINTS_MAX, NOTHING_AGREED, Fee, Interest, Terms
from polka.store import api_keys, bank_terms, database, seed
from waiting import WAIT_SECONDS
from whole import AsyncTransport

BANKS, ACCOUNTS, CLIENTS = 5, 3, 4
WINDOW_SECONDS = 0.2
PAUSE_SECONDS_MAX = 1.2
START_SECONDS = 4.0
"""The time of a full start on a machine where these pauses leave time to recover. On a slower machine pauses are
longer."""
EACH_KILL = 10
"""Acknowledged requests for each kill of `make crash`. Fewer would be no load."""
BULK = 5
RUNS_MAX = 10_000
SAID_LINES_MAX = 200
STDERR = 2
NOTHING_RECORDED = {"database_away", "timeout", "overloaded", "cap_unchecked", "slow"}
CAP = 10**6
IMPATIENT = {
    # Every wait of the services, shortened: a freeze of some seconds outlasts them all.
    "POLKA_PENDING_SECONDS": "1.5",
    "POLKA_COMMIT_TIMEOUT_SECONDS": "1.5",
    "POLKA_FLUSH_TIMEOUT_SECONDS": "2",
    "POLKA_CACHE_TIMEOUT_SECONDS": "0.5",
    # And the audit all the time, in small steps.
    "POLKA_AUDIT_SECONDS": "0.5",
    "POLKA_AUDIT_PAYMENTS_AGAIN": "30",
}

USURY = Interest(INTEREST_BASIS_POINTS_MAX, INTEREST_BASIS_POINTS_MAX)
"""Even windows of a fraction of a second bear interest."""


@dataclass(frozen=True)
class Request:
    """A client's request. Its key is also the reference of its payments, or the reason of its changes."""

    key: str
    method: str
    path: str
    body: Any = None
    params: dict[str, str] = field(default_factory=dict)


@dataclass
class Storm:
    """The events, and the answers to the clients."""

    chance: random.Random
    url: str
    headers: dict[str, str]
    kills: int = 0
    attempts: int = 0
    acknowledged: dict[str, list[str]] = field(default_factory=dict)
    """By key, the completed work: the new payments, or the replaced payment and version."""
    unknown: set[str] = field(default_factory=set)
    nothing: set[str] = field(default_factory=set)
    """Keys with only "nothing was recorded" as answers."""
    refused: set[str] = field(default_factory=set)
    """Keys refused for good because of a cap."""
    unexpected: list[str] = field(default_factory=list)
    windows: dict[int, str] = field(default_factory=dict)
    """The states of windows, from the answers to closing or settling."""
    victims: Counter[str] = field(default_factory=Counter)
    is_over: bool = False

    @property
    def sent(self) -> int:
        return len(self.acknowledged) + len(self.unknown) + len(self.nothing) + len(self.refused)


@dataclass(frozen=True)
class Verdict:
    """The ledger of a storm."""

    kills: int
    sent: int
    acknowledged: int
    unknown: int
    lost: int
    doubled: int
    windows: int
    audits: int
    wrong: list[str]
    """All other faults, in words."""

    @property
    def is_good(self) -> bool:
        return not self.lost and not self.doubled and not self.wrong

    def __str__(self) -> str:
        return (
            f"kills {self.kills}  sent {self.sent}  acknowledged {self.acknowledged}  unknown {self.unknown}  "
            f"lost {self.lost}  doubled {self.doubled}  windows {self.windows}  audits {self.audits}"
        )


async def crash(
    kills: int,
    chance: random.Random,
    on_kill: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda _: None,
    pause_seconds_max: float = PAUSE_SECONDS_MAX,
    is_enough: Callable[[Storm], bool] = lambda _: True,
) -> Verdict:
    """Start a Polka, let the storm pass over it, and judge the remains. A longer pause allows more work in between.

    The storm goes on until enough processes were killed or frozen, and enough work was done meanwhile. On a slow
    machine, where processes take longer to recover, pauses are longer.
    """
    os.environ.update(IMPATIENT)
    with tempfile.TemporaryDirectory(prefix="polka-crash-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        layout = free_layout(2, folder, None)
        began = time.monotonic()
        async with up(layout, say) as running:
            slowness = max(1.0, (time.monotonic() - began) / START_SECONDS)
            await seed.seed(running.database_url, BANKS, 0)
            async with database.session(running.database_url) as connection:
                key = await api_keys.create_operators(connection, "storm")
                for bank in range(1, BANKS + 1):
                    fees = {"USD": Fee(25, 10)} if bank == 1 else {}
                    caps = {"USD": CAP} if bank == 2 else {}
                    terms = Terms(caps, fees=fees, interest={"USD": USURY})
                    await bank_terms.change(connection, f"bank{bank}", NOTHING_AGREED, terms, "storm")
            storm = Storm(chance, layout.url, {"Authorization": f"Bearer {key}"})
            clients = [asyncio.create_task(pay(storm)) for _ in range(CLIENTS)]
            clients.append(asyncio.create_task(clear(storm)))
            pause_seconds_max *= slowness
            await rage(storm, running, lambda: storm.kills >= kills and is_enough(storm), on_kill, pause_seconds_max)
            await all_serve(running)
            storm.is_over = True
            await asyncio.gather(*clients)
            await posted(running.database_url)
            return await judge(storm, running)


async def pay(storm: Storm) -> None:
    """Send requests until the storm is over, each until its outcome is certain or patience ends."""
    mine: list[str] = []
    while not storm.is_over:
        async with client_of(storm) as client:
            for _ in range(storm.chance.randint(1, 50)):
                if storm.is_over:
                    return
                request = draw(storm.chance, mine)
                made = await send_until_certain(storm, client, request)
                if request.method == "POST":
                    mine += made


async def clear(storm: Storm) -> None:
    """Close the open window again and again, and settle most closed windows."""
    window = 0
    async with client_of(storm) as client:
        while not storm.is_over:
            await asyncio.sleep(WINDOW_SECONDS)
            window += 1
            await step(storm, client, window, "closed", "/clearing", {"window": window})
            if storm.chance.random() < 0.8:
                await step(storm, client, window, "settled", f"/clearing/{window}/settle")


async def step(
    storm: Storm, client: httpx.AsyncClient, window: int, state: str, path: str, body: dict[str, int] | None = None
) -> None:
    """Repeat the request until success, or until the storm is over."""
    while not storm.is_over:
        with contextlib.suppress(httpx.HTTPError):
            response = await client.post(path, json=body)
            if response.is_success:
                answer = response.json()
                storm.windows[window] = state
                if (answer["id"], answer["state"]) != (window, state):
                    storm.unexpected.append(f"window {window}, to be {state}: {answer}")
                return
            if response.status_code != 503:
                storm.unexpected.append(f"window {window}, to be {state}: {response.text}")
        await asyncio.sleep(storm.chance.uniform(0, 0.3))


def client_of(storm: Storm) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=storm.url, headers=storm.headers, transport=AsyncTransport())


def draw(chance: random.Random, mine: list[str]) -> Request:
    """Usually a payment; otherwise a change of one of the client's own payments, or many payments at once."""
    key = uuid.uuid4().hex
    kind = chance.choices(["pay", "amend", "delete", "bulk"], [75, 10, 10, 5])[0]
    if kind == "bulk":
        return Request(key, "POST", "/transactions", [payment(chance, key) for _ in range(BULK)])
    if kind == "pay" or not mine:
        return Request(key, "POST", "/transaction", payment(chance, key))
    path = f"/transaction/{mine.pop(chance.randrange(len(mine)))}"
    if kind == "delete":
        return Request(key, "DELETE", path, None, {"reason": key})
    return Request(key, "PATCH", path, {"receiver": {"account": f"B{chance.randint(1, ACCOUNTS)}"}}, {"reason": key})


def payment(chance: random.Random, reference: str) -> dict[str, Any]:
    sender, receiver = chance.sample(range(1, BANKS + 1), 2)
    return {
        "sender": {"bank": f"bank{sender}", "account": f"A{chance.randint(1, ACCOUNTS)}"},
        "receiver": {"bank": f"bank{receiver}", "account": f"A{chance.randint(1, ACCOUNTS)}"},
        "amount": chance.randint(100, 10**6),
        "reference": reference,
        **({"receiver_currency": "EUR"} if chance.random() < 0.2 else {}),
    }


async def send_until_certain(storm: Storm, client: httpx.AsyncClient, request: Request) -> list[str]:
    """The completed work; nothing if the outcome is still uncertain after the client's patience."""
    told: list[str] = []
    patience = 1 if storm.chance.random() < 0.1 else 200
    while len(told) < patience:
        told.append(await attempt(storm, client, request))
        if told[-1] == "accepted":
            return storm.acknowledged[request.key]
        if told[-1] == "cap_exceeded":
            storm.refused.add(request.key)
            return []
        await asyncio.sleep(storm.chance.uniform(0, 0.3))
    (storm.nothing if set(told) <= NOTHING_RECORDED else storm.unknown).add(request.key)
    return []


async def attempt(storm: Storm, client: httpx.AsyncClient, request: Request) -> str:
    """One request. Returns the client's knowledge after it."""
    storm.attempts += 1
    timeout = storm.chance.choice((0.2, 1, 5))
    try:
        response = await client.request(
            request.method,
            request.path,
            json=request.body,
            headers={"Idempotency-Key": request.key},
            params={**request.params, "timeout": f"{timeout}s"},
            timeout=timeout * storm.chance.choice((0.5, 2)),
        )
    except httpx.HTTPError:
        return "unknown"
    answer = response.json()
    if response.is_success:
        done = done_by(answer)
        before = storm.acknowledged.setdefault(request.key, done)
        if before != done:
            storm.unexpected.append(f"{request.key} was answered with {before} and with {done}")
        return "accepted"
    if response.status_code not in (408, 503, 504) and answer["code"] != "cap_exceeded":
        storm.unexpected.append(f"{request} was answered with {answer}")
    return str(answer["code"])


def done_by(answer: dict[str, Any]) -> list[str]:
    """From an answer: the new payments, or the replaced payment and its version."""
    if "results" in answer:
        return sorted(result["transaction"]["id"] for result in answer["results"])
    if answer["version"] == 1:
        return [answer["id"]]
    return [f"{answer['id']}/{answer['version'] - 1}"]


async def rage(
    storm: Storm,
    running: Running,
    is_over: Callable[[], bool],
    on_kill: Callable[[], None],
    pause_seconds_max: float,
) -> None:
    """Kill or freeze a process at random moments. Several may be down at once."""
    thawing: set[asyncio.Task[None]] = set()
    while not is_over():
        await asyncio.sleep(storm.chance.uniform(0.05, pause_seconds_max))
        victim = storm.chance.choice(running.processes)
        if victim.pid is None:
            continue
        storm.kills += 1
        if storm.chance.random() < 0.6:
            storm.victims[f"{victim.name} killed"] += 1
            send(victim.pid, signal.SIGKILL)
        else:
            storm.victims[f"{victim.name} frozen"] += 1
            seconds = storm.chance.choice((0.1, 0.5, 2, 5))
            thawing.add(asyncio.create_task(freeze(victim, victim.pid, seconds)))
        on_kill()
    if thawing:
        await asyncio.wait(thawing)


async def freeze(victim: Process, pid: int, seconds: float) -> None:
    send(pid, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    if victim.pid == pid:
        send(pid, signal.SIGCONT)


def send(pid: int, number: signal.Signals) -> None:
    """To the process and all its descendants, because each process of Postgres is in a group of its own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(number)


async def all_serve(running: Running) -> None:
    for process in running.processes:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while not await process.is_ready():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{process.name}, pid {process.pid}, does not come back") from None


STORED = """
SELECT reference AS key, array_agg(id::text ORDER BY id::text) AS done FROM transactions GROUP BY 1
UNION ALL
SELECT reason, array_agg(id || '/' || version) FROM transaction_history GROUP BY 1
"""


WINDOWS = "SELECT id, state FROM windows"


async def judge(storm: Storm, running: Running) -> Verdict:
    """Compare the clients' answers with the database."""
    connection = await asyncpg.connect(running.database_url)
    stored: dict[str, list[str]] = dict(await connection.fetch(STORED))
    windows: dict[int, str] = dict(await connection.fetch(WINDOWS))
    await connection.close()
    lost = [key for key, done in storm.acknowledged.items() if set(done) - set(stored.get(key, []))]
    doubled = [key for key, done in stored.items() if len(done) not in (1, BULK)]
    doubled += [key for key, done in storm.acknowledged.items() if set(stored.get(key, [])) - set(done)]
    wrong = list(storm.unexpected)
    wrong += [f"{key}: nothing was recorded, it said" for key in storm.nothing if key in stored]
    wrong += [f"{key}: it was refused" for key in storm.refused if key in stored]
    wrong += [f"{key} was never sent" for key in stored.keys() - sent_keys(storm)]
    wrong += await unresolved(storm, stored)
    wrong += [
        f"window {window} is {windows.get(window)}, and was {state}"
        for window, state in storm.windows.items()
        if windows.get(window) != state and windows.get(window) != "settled"
    ]
    done = await snapshot.audit(running.database_url, running.cache_url, running.cache_token)
    wrong += [f"{check}: {differences}" for check, differences in done.differences.items() if differences]
    runs = await audited(running)
    wrong += [f"the audit in the background, at flush {run.flush}: {run.findings}" for run in runs if run.faults]
    return Verdict(
        storm.kills,
        storm.sent,
        len(storm.acknowledged),
        len(storm.unknown),
        len(lost),
        len(doubled),
        len(storm.windows),
        len(runs),
        wrong,
    )


async def audited(running: Running) -> list[Run]:
    """All runs of the background audit, after a run that proves everything posted by now."""
    async with asyncpg.create_pool(running.database_url, min_size=1, max_size=1) as pool:
        number = await pool.fetchval("SELECT number FROM flush")
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                found = (await runs.list_runs(pool, RUNS_MAX)).runs
                if found and (found[0].faults or found[0].flush >= number):
                    return found
                await asyncio.sleep(0.05)


def sent_keys(storm: Storm) -> set[str]:
    return {*storm.acknowledged, *storm.unknown, *storm.nothing, *storm.refused}


async def unresolved(storm: Storm, stored: dict[str, list[str]]) -> list[str]:
    """Ask for the outcome of each unknown request. The answer must match the database."""
    wrong = []
    async with client_of(storm) as client:
        for key in storm.unknown:
            response = await client.get("/transaction", params={"idempotency_key": key})
            found = done_by(response.json()) if response.is_success else []
            if found != stored.get(key, []):
                wrong.append(f"{key}: {response.text} instead of {stored.get(key)}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=PAUSE_SECONDS_MAX, help="the longest between two kills, in s")
    parser.add_argument("--requests", type=int, help="acknowledged at least; 10 for each kill unless it is given")
    parser.add_argument("--windows", type=int, default=0, help="closed at least")
    options = parser.parse_args()
    requests = EACH_KILL * options.kills if options.requests is None else options.requests
    descriptor, said = tempfile.mkstemp(prefix=f"polka-crash-{options.seed}-", suffix=".log")
    verdict = None
    with Progress() as progress, errors_to(descriptor):
        bar = progress.add_task(f"seed {options.seed}", total=options.kills)
        chance = random.Random(options.seed)
        try:
            verdict = asyncio.run(
                crash(
                    options.kills,
                    chance,
                    lambda: progress.advance(bar),
                    progress.console.print,
                    options.pause,
                    lambda storm: len(storm.acknowledged) >= requests and len(storm.windows) >= options.windows,
                )
            )
        except Exception:
            traceback.print_exc()
    if verdict and verdict.is_good:
        Path(said).unlink()
    else:
        print("".join(Path(said).read_text().splitlines(keepends=True)[-SAID_LINES_MAX:]))
        print(f"More of what was said is in {said}")
    for fault in verdict.wrong if verdict else ():
        print(fault)
    print(verdict or "The storm ended without a verdict.")
    return 0 if verdict and verdict.is_good else 1


@contextlib.contextmanager
def errors_to(descriptor: int) -> Iterator[None]:
    """Redirect our standard error, and the one of all started processes, to this descriptor."""
    before = os.dup(STDERR)
    os.dup2(descriptor, STDERR)
    try:
        yield
    finally:
        os.dup2(before, STDERR)
        os.close(before)


if __name__ == "__main__":
    sys.exit(main())
