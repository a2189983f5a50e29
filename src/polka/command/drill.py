"""`polka drill`: kills a process, and counts what that costs."""

import asyncio
import sys

import click
from rich.markup import escape

from polka.command.help import command
from polka.command.on_polka import on_polka
from polka.command.running import run
from polka.command.show import DIFFERENCES_SHOWN
from polka.command.terminal import counts, say, show_table
from polka.local.front_door import ask
from polka.local.presence import Presence
from polka.rules.drills import Drill, Drills, Step, Target
from polka.service.failure import Failure, NotYetFailure
from polka.store import database

DRILL_POLL_SECONDS, DRILL_SILENT_SECONDS = 0.1, 60.0
STEPS = {
    Step.BEFORE: "Paying …",
    Step.AWAY: "{process} is killed …",
    Step.AFTER: "All is well again; paying on …",
    Step.COMPARING: "Comparing with what is stored …",
}


@command("drill", "polka drill cache", "polka drill postgres")
@click.argument("target", type=click.Choice([target.value for target in Target]))
@on_polka
def run_drill(target: str, polka: Presence) -> None:
    """Kill a process of your `polka up` under load, and count.

    The exit code is 1 if a payment was lost or doubled.
    """
    done = run(drill(polka.url, polka.key, target))
    show_drill(done)
    sys.exit(0 if done.is_good else 1)


async def drill(url: str, key: str | None, target: str) -> Drill:
    """The drill, once it has ended. Its api may be the one that is killed: what it does not answer is asked again.

    Raises:
        Failure: it is refused, or nobody answers any more.
    """
    started = (await ask(url, key, "POST", "/drills", Drills, {"target": target})).running
    if started is None:
        raise Failure("The drill has ended at once.")
    unsaid = list(STEPS)
    while True:
        drills = await database.patiently(lambda: look(url, key), DRILL_SILENT_SECONDS, lambda _: None)
        for found in (drills.running, *drills.results):
            if found is None or found.id != started.id:
                continue
            last = Step.COMPARING if found.findings else found.step
            while last in unsaid:  # also the steps between two looks
                say(STEPS[unsaid.pop(0)].format(process=found.process))
            if found.step is Step.ENDED:
                return found
        await asyncio.sleep(DRILL_POLL_SECONDS)


async def look(url: str, key: str | None) -> Drills:
    try:
        return await ask(url, key, "GET", "/drills", Drills)
    except Failure as failure:
        raise NotYetFailure(str(failure)) from None


def show_drill(done: Drill) -> None:
    """What was acknowledged and what is stored, before the kill and after it, and how long it took."""
    if found := done.findings:
        show_table(
            ("", "acknowledged", "stored"),
            (
                ("before the kill", *counts(done.acknowledged_before, found.stored_before)),
                ("after the kill", *counts(done.acknowledged_after, found.stored_after)),
            ),
        )
        say(
            f"{found.lost:,} lost, {found.doubled:,} duplicated, "
            f"{found.unacknowledged:,} stored without acknowledgement."
        )
        for difference in found.wrong_balances[:DIFFERENCES_SHOWN]:
            say(f"  [red]{escape(difference)}[/]")
    if done.first_answer_seconds is not None and done.ready_seconds is not None:
        say(f"First success {done.first_answer_seconds:.2f} s after the kill.")
        say(f"{done.process} was ready again after {done.ready_seconds:.2f} s.")
        say(f"{done.late:,} payments took longer than a second, the longest {done.longest_wait_seconds:.2f} s.")
        say(f"{done.repeated:,} requests were sent again.")
    if done.failure:
        say(f"[red]The drill failed: {escape(done.failure)}[/]")
    say("Nothing was lost." if done.is_good else "[red]The drill does not prove that nothing was lost.[/]")
