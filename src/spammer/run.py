"""A run: its share of the payments, its tally, and its end after all N payments.

Each process counts its own tally and sends the tally to the master. The master stops the run after the last payment.
"""

import math
import os
import time
from collections.abc import Sequence
from typing import Any

import gevent
from gevent.event import Event
from locust.env import Environment
from locust.runners import MasterRunner, Runner, WorkerRunner

from polka.rules.spam_options import read_currencies
from spammer.mix import NO_MIX, read_mix
from spammer.plan import Plan, Tickets, plan
from spammer.tally import Tally, bar, progress, summary
from spammer.terminal import end_line, overwrite, say

TALLY = "polka_tally"
REPORT_SECONDS = 0.25
WORKER_SILENT_SECONDS = 3.0


class Run:
    """A run in one process. `plan` is None if the run cannot start."""

    def __init__(self, environment: Environment, runner: Runner, options: Any) -> None:
        self.environment = environment
        self.runner = runner
        self.options = options
        self.tally = Tally()
        self.others: dict[str, Tally] = {}
        self.is_over = False
        self.is_stopping = Event()
        can_start = bool(options.bank_names)
        self.plan = plan_of(options, options.bank_names) if can_start else None
        self.mix = read_mix(options.mix) if can_start else NO_MIX
        self.tickets = tickets(runner, options)
        self.began = time.monotonic()
        self._warned: set[str] = set()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def total(self) -> Tally:
        """Of all processes."""
        total = Tally()
        for part in (self.tally, *self.others.values()):
            total.add(part)
        return total

    def report(self, runner: WorkerRunner) -> None:
        """Tell the master."""
        runner.send_message(TALLY, {"run": self.options.run_id, **self.tally.to_message()})

    def warn(self, total: Tally) -> None:
        """Show the first answer of each kind, once."""
        for code, detail in total.details.items():
            if code not in self._warned:
                self._warned.add(code)
                end_line()
                say(f"warning: {code}: {detail}")


current: Run | None = None
"""The newest run of this process."""


def start(environment: Environment, runner: Runner, options: Any) -> None:
    global current
    current = Run(environment, runner, options)
    gevent.spawn(watch, current)


def total() -> Tally:
    """Of the newest run, in all processes."""
    return current.total() if current else Tally()


def hear(msg: Any, **_: Any) -> None:
    """A worker's tally, possibly of an earlier run."""
    if current and msg.data["run"] == current.options.run_id:
        current.others[msg.node_id] = Tally.of(msg.data)


def end_with_master(runner: Runner, master: int) -> None:
    """A worker process whose master is gone does not go on alone."""
    while os.getppid() == master:
        gevent.sleep(REPORT_SECONDS)
    runner.quit()


def plan_of(options: Any, banks: Sequence[str]) -> Plan:
    """The plan from the options.

    Raises:
        ValueError: the options are invalid.
    """
    currencies = read_currencies(options.currencies)
    return plan(options.seed, banks, options.accounts, options.skew, currencies, options.across)


def present(runner: MasterRunner) -> list[str]:
    """The ids of the present worker processes. A worker is back a moment after its run."""
    clients = runner.clients
    return sorted(client.id for client in (*clients.ready, *clients.spawning, *clients.running))


def tickets(runner: Runner, options: Any) -> Tickets:
    """This process's share of the payments: none for a worker that came after the start."""
    total = options.transactions or math.inf
    if not isinstance(runner, WorkerRunner):
        return Tickets(total, 0, 1, options.rate)
    if runner.client_id not in options.workers:
        return Tickets(0, 0, 1, options.rate)
    return Tickets(total, options.workers.index(runner.client_id), len(options.workers), options.rate)


def watch(run: Run) -> None:
    """Report during the run, and end the run after the last payment."""
    ticks, silent_ticks = 0, 0
    while not run.is_over:
        gevent.sleep(REPORT_SECONDS)
        ticks += 1
        if isinstance(run.runner, WorkerRunner):
            run.report(run.runner)
            continue
        total = run.total()
        run.warn(total)
        silent_ticks = silent_ticks + 1 if lacks_workers(run) else 0
        if run.plan is None:
            run.is_over = True
            end(run)
        elif total.ended >= (run.options.transactions or math.inf):
            conclude(run, total)
        elif silent_ticks * REPORT_SECONDS > WORKER_SILENT_SECONDS:
            end_line()
            say("A worker process has died, and its share of the payments is not sent.")
            end(run)
        elif ticks % round(1 / REPORT_SECONDS) == 0:
            show_progress(run, total)


def lacks_workers(run: Run) -> bool:
    return isinstance(run.runner, MasterRunner) and not set(run.options.workers) <= set(present(run.runner))


def conclude(run: Run, total: Tally) -> None:
    run.is_over = True
    wanted = run.options.transactions
    show_progress(run, total)
    end_line()
    say(summary(total, wanted, run.seconds))
    if total.ended == wanted and total.is_good:
        run.environment.process_exit_code = 0
    end(run)


def end(run: Run) -> None:
    if run.options.headless:
        run.runner.quit()
    else:
        run.runner.stop()


def stop_endless(environment: Environment) -> None:
    """Before Locust reads the exit code: a run without end goes well by being stopped."""
    if current is not None and not current.options.transactions and environment.runner is not None:
        environment.runner.stop()


def send_no_more() -> None:
    """Cancel payments that are not due yet."""
    if current is not None:
        current.is_stopping.set()


def close(environment: Environment) -> None:
    """The run has stopped: a worker reports a last time. The others show the result, unless all payments had ended."""
    run = current
    if run is None:
        return
    if isinstance(environment.runner, WorkerRunner):
        run.report(environment.runner)
    elif not run.is_over:
        total, wanted = run.total(), run.options.transactions
        run.warn(total)
        end_line()
        say(("Stopped early.\n" if wanted else "") + summary(total, wanted, run.seconds))
        if not wanted and total.is_good:
            environment.process_exit_code = 0
        if run.options.headless:
            gevent.spawn(end, run)  # Locust would stay after a run that lost all its workers
    run.is_over = True


def show_progress(run: Run, total: Tally) -> None:
    wanted = run.options.transactions
    if run.options.progress == "bar" and wanted:
        overwrite(bar(total, wanted, run.seconds))
    elif run.options.progress in ("line", "bar"):
        overwrite(progress(total, wanted, run.seconds))
    elif run.options.progress == "lines":
        say(progress(total, wanted, run.seconds))
