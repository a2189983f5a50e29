"""Runs a drill inside `polka up`: pays, kills a process, pays until all processes serve again, and compares with
Postgres."""

import asyncio
import contextlib
import itertools
import random
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from msgspec import UNSET

from polka.client import AsyncClient, ClientError, Party, ProblemError, TermsPatch
from polka.local.control import Answer
from polka.local.processes import Process
from polka.rules import transactions
from polka.rules.drills import Drill, Drills, Findings, Payment, Record, Step, Target, balances, compare, differences
from polka.rules.keys import NewKey, Scope
from polka.rules.money import AMOUNT_MAX, written
from polka.service.failure import Failure
from polka.store import api_keys, database
from polka.store.api_keys import NotMade
from polka.store.database import Connection

BANKS = ("drill-1", "drill-2")
"""Only drills use these banks. The first drill opens the banks. The second bank has a cap too high to refuse any
payment: its payments need a reservation by the cache, and payments of the first bank do not."""
CURRENCY = "USD"
CLIENTS, PACE_SECONDS = 25, 0.5
"""Each client pays once in this time: fifty payments a second."""
PAYMENTS_BEFORE, PAYMENTS_AFTER = 100, 100
AMOUNT_DRAWN_MAX = 10_000
PAUSE_SECONDS = 0.1
POLL_SECONDS = 0.02
CLIENT_SECONDS = 6.0
"""The longest wait for an answer."""
SETTLED_SECONDS = 60.0
RESULTS_MAX = 10
TOO_MANY_REQUESTS, SERVER_ERROR = 429, 500

OPEN = "INSERT INTO banks (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
STORED = "SELECT id::text, reference FROM transactions WHERE sender_account = ANY($1)"
UNPOSTED = """
SELECT EXISTS (
    SELECT FROM transactions JOIN batches ON batches.id = batch WHERE sender_account = ANY($1) AND state = 'unposted'
)
"""
ACCOUNTS = "SELECT bank, account, balance FROM accounts WHERE bank = ANY($1) AND account = ANY($2) AND currency = $3"
# One statement, one snapshot: a bank's balance, and the sum of its accounts' balances.
OF_BANKS = """
SELECT name, coalesce((SELECT balance FROM balances WHERE bank = name AND currency = $2), 0) AS balance,
       coalesce((SELECT sum(balance) FROM accounts WHERE bank = name AND currency = $2), 0) AS of_accounts
FROM banks WHERE name = ANY($1)
"""


@dataclass(frozen=True)
class Ground:
    """The environment of drills: a Polka's processes, its front door, and its database."""

    processes: Sequence[Process]
    url: str
    database_url: str
    asks_for_keys: bool

    def victims(self, target: Target) -> list[Process]:
        """The processes that a drill of this target may kill. A database of the user's own is never included."""
        return [process for process in self.processes if process.name.partition("-")[0] == target.value]


class Driller:
    """Runs one drill at a time, and remembers the latest results."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._numbers = itertools.count(1)
        self._drilling: Drilling | None = None
        self._results: deque[Drill] = deque(maxlen=RESULTS_MAX)
        self._task: asyncio.Task[None] | None = None

    def obey(self, target: Target | None) -> Answer:
        """Start a drill if a target is given. Returns the current state."""
        refused = self._start(target) if target else None
        targets = [target for target in Target if self._ground.victims(target)]
        running = self._drilling.told() if self._drilling else None
        return Answer(Drills(targets, running, list(self._results)), refused)

    def _start(self, target: Target) -> str | None:
        """Start a drill, or return the reason for the refusal."""
        if self._drilling:
            return f"A drill runs already, which kills {self._drilling.victim.name}: wait until it has ended."
        victims = self._ground.victims(target)
        if not victims:
            return "This Polka is on a database of your own, which is not killed here."
        self._drilling = Drilling(next(self._numbers), target, random.choice(victims), self._ground)  # noqa: S311
        self._task = asyncio.create_task(self._run(self._drilling))
        return None

    async def _run(self, drilling: "Drilling") -> None:
        try:
            await drilling.run()
        finally:
            self._results.appendleft(drilling.told())
            self._drilling = None

    async def stop(self) -> None:
        """End the running drill."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])


@dataclass
class Drilling:
    """One drill."""

    id: int
    target: Target
    victim: Process
    ground: Ground
    name: str = field(default_factory=lambda: f"drill-{secrets.token_hex(6)}")
    step: Step = Step.BEFORE
    record: Record = field(default_factory=Record)
    findings: Findings | None = None
    failure: str | None = None
    refusal: str | None = None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    killed_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def parties(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """An account at each of the two banks. Other drills have other accounts."""
        account = self.name.replace("-", "").upper()
        return (BANKS[0], f"{account}A"), (BANKS[1], f"{account}B")

    @property
    def accounts(self) -> list[str]:
        return [account for _, account in self.parties]

    def told(self) -> Drill:
        record = self.record
        is_certain = not (self.failure or record.waiting or record.refused)
        is_good = bool(is_certain and self.findings and self.findings.are_good)
        return Drill(
            id=self.id,
            target=self.target,
            process=self.victim.name,
            step=self.step,
            started_at=self.started_at,
            killed_at=self.killed_at,
            ended_at=self.ended_at,
            acknowledged_before=record.acknowledged_before,
            acknowledged_after=record.acknowledged - record.acknowledged_before,
            waiting=record.waiting,
            repeated=record.repeated,
            refused=record.refused,
            late=record.late,
            longest_wait_seconds=round(record.longest_wait_seconds, 3),
            first_answer_seconds=record.since_kill(record.first_answer_at),
            ready_seconds=record.since_kill(record.ready_at),
            findings=self.findings,
            failure=self.failure,
            is_good=is_good if self.step is Step.ENDED else None,
        )

    async def run(self) -> None:
        """From the first payment to the comparison. An exception becomes the drill's failure. The payments made by then
        are compared in any case."""
        try:
            async with self._key() as key:
                await open_banks(self.ground, key)
                with self._told_as_failure():
                    await self._pay_and_kill(key)
            self.step = Step.COMPARING
            async with database.session(self.ground.database_url) as connection:
                self.findings = await self._compare(connection)
        except Exception as error:
            self.failure = self.failure or reason(error)
        finally:
            self.step = Step.ENDED
            self.ended_at = datetime.now(UTC)

    @contextmanager
    def _told_as_failure(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.failure = reason(error)

    @asynccontextmanager
    async def _key(self) -> AsyncIterator[str | None]:
        """A key for the duration of the drill, if Polka requires keys."""
        if not self.ground.asks_for_keys:
            yield None
            return
        key = api_keys.new_key()
        scopes = (Scope.TRANSACTIONS_WRITE, Scope.TRANSACTIONS_READ, Scope.BANKS_WRITE)
        async with database.session(self.ground.database_url) as connection:
            made = await api_keys.create(connection, key, NewKey(self.name, scopes=scopes))
        if isinstance(made, NotMade):
            raise Failure("The key of the drill could not be made.")
        try:
            yield key
        finally:
            # Without the database nobody can revoke the key; but then nobody knows the key any more either.
            with contextlib.suppress(Failure, *database.ERRORS):
                async with database.session(self.ground.database_url) as connection:
                    await api_keys.revoke(connection, UUID(made.id))

    async def _pay_and_kill(self, key: str | None) -> None:
        is_over = asyncio.Event()
        # The drill counts and repeats the attempts itself.
        async with AsyncClient(
            self.ground.url, key, timeout_seconds=CLIENT_SECONDS, attempts_max=1, connections_max=CLIENTS
        ) as client:
            clients = [asyncio.create_task(self._pay(client, number, is_over)) for number in range(CLIENTS)]
            try:
                async with asyncio.timeout(SETTLED_SECONDS):
                    await self._acknowledged(PAYMENTS_BEFORE)
                    await self._kill()
                    await self._acknowledged(PAYMENTS_AFTER)
                    is_over.set()
                    await asyncio.gather(*clients)
            except TimeoutError:
                raise Failure(f"Not all was well again within {SETTLED_SECONDS:.0f} s.") from None
            finally:
                for task in clients:
                    task.cancel()

    async def _acknowledged(self, more: int) -> None:
        """Wait for this many more acknowledged payments.

        Raises:
            Failure: a payment was refused. The terms of the drills' banks must allow all payments.
        """
        enough = self.record.acknowledged + more
        while self.record.acknowledged < enough:
            if self.refusal:
                raise Failure(f"A payment was refused: {self.refusal}")
            await asyncio.sleep(POLL_SECONDS)

    async def _kill(self) -> None:
        """Kill the process, and wait until it runs again and all processes can serve."""
        pid = self.victim.pid
        self.victim.kill()
        self.record.killed_at, self.killed_at, self.step = time.monotonic(), datetime.now(UTC), Step.AWAY
        while self.victim.pid in (None, pid) or not await self.victim.is_ready():
            await asyncio.sleep(POLL_SECONDS)
        self.record.ready_at = time.monotonic()
        for process in self.ground.processes:
            while not await process.is_ready():
                await asyncio.sleep(POLL_SECONDS)
        self.step = Step.AFTER

    async def _pay(self, client: AsyncClient, number: int, is_over: asyncio.Event) -> None:
        """Pay from one party to the other, at the client's pace. Each payment is repeated until its outcome is
        certain."""
        sender, receiver = self.parties if number % 2 else reversed(self.parties)
        await asyncio.sleep(PACE_SECONDS * number / CLIENTS)
        for count in itertools.count(1):
            if is_over.is_set():
                return
            began = time.monotonic()
            amount = random.randint(1, AMOUNT_DRAWN_MAX)  # noqa: S311
            payment = Payment(f"{self.name}-{number}-{count}", sender, receiver, amount)
            self.record.payments.append(payment)
            while not await self._attempt(client, payment, began):
                self.record.repeated += 1
                await asyncio.sleep(PAUSE_SECONDS)
            await asyncio.sleep(max(0.0, began + PACE_SECONDS - time.monotonic()))

    async def _attempt(self, client: AsyncClient, payment: Payment, began: float) -> bool:
        """Send the payment, again under the same key. Returns whether the outcome is certain."""
        asked = time.monotonic()
        try:
            made = await client.pay(ordered(payment), idempotency_key=payment.key)
        except ProblemError as error:
            payment.is_refused = TOO_MANY_REQUESTS != error.status < SERVER_ERROR
            if payment.is_refused:
                self.refusal = error.detail
            return payment.is_refused
        except ClientError:
            return False
        fee = 0 if made.fee is UNSET else made.fee
        self.record.acknowledge(payment, made.id, fee, began, asked, time.monotonic())
        return True

    async def _compare(self, connection: Connection) -> Findings:
        """Compare after all payments are posted."""
        async with asyncio.timeout(SETTLED_SECONDS):
            while await connection.fetchval(UNPOSTED, self.accounts):
                await asyncio.sleep(POLL_SECONDS)
        stored = await connection.fetch(STORED, self.accounts)
        rows = await connection.fetch(ACCOUNTS, BANKS, self.accounts, CURRENCY)
        held = {(row["bank"], row["account"]): int(row["balance"]) for row in rows}
        wrong = differences(balances(self.record.payments), held, CURRENCY)
        for row in await connection.fetch(OF_BANKS, BANKS, CURRENCY):
            if row["balance"] != row["of_accounts"]:
                wrong.append(
                    f"{row['name']}: {written(int(row['balance']), CURRENCY)} instead of "
                    f"{written(int(row['of_accounts']), CURRENCY)}, the sum of its accounts"
                )
        return compare(self.record.payments, stored, wrong)


def reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def ordered(payment: Payment) -> transactions.Payment:
    """The drill's payment in the api's form."""
    sender, receiver = Party(*payment.sender), Party(*payment.receiver)
    return transactions.Payment(sender, receiver, payment.amount, CURRENCY, payment.key)


async def open_banks(ground: Ground, key: str | None) -> None:
    """Open the banks of the drills, and set the cap of the second bank.

    Raises:
        Failure: the database is unavailable.
        ClientError: the api is unavailable, or refuses.
    """
    async with database.session(ground.database_url) as connection:
        await connection.execute(OPEN, BANKS)
    async with AsyncClient(ground.url, key) as client:
        if CURRENCY not in (await client.bank(BANKS[1])).caps:
            await client.change_terms(BANKS[1], TermsPatch(caps={CURRENCY: AMOUNT_MAX}))
