"""`polka drill`: kills a process under load, and counts the losses."""

import sys
import time

import click
from rich.markup import escape

from polka.client import Client, ClientError
from polka.command.asking import asking
from polka.command.help import command
from polka.command.on_polka import on_polka
from polka.command.show import DIFFERENCES_SHOWN
from polka.command.terminal import counted, counts, say, show_table
from polka.local.presence import Presence
from polka.rules.drills import Drill, Drills, Step, Target
from polka.service.failure import Failure

DRILL_POLL_SECONDS, DRILL_SILENT_SECONDS = 0.1, 60.0
STEPS = {
    Step.BEFORE: "Paying …",
    Step.AWAY: "{process} is killed …",
    Step.AFTER: "{process} works again. Paying continues …",
    Step.COMPARING: "Comparing with the stored payments …",
}


@command("drill", "polka drill cache", "polka drill postgres")
@click.argument("target", type=click.Choice([target.value for target in Target]))
@on_polka
def run_drill(target: str, polka: Presence) -> None:
    """Kill a process of your `polka up` under load, and count.

    The drill opens two banks, drill-1 and drill-2, and pays between them. The
    banks and their payments stay. The exit code is 1 if a payment was lost or doubled.
    """
    with asking(polka) as client:
        done = drill(client, Target(target))
    show_drill(done)
    sys.exit(0 if done.is_good else 1)


def drill(client: Client, target: Target) -> Drill:
    """The ended drill. A look without an answer is repeated, because the drill may kill the asked api.

    Raises:
        Failure: the drill has ended at once.
        ClientError: the drill is rejected, or nobody answers any more.
    """
    started = client.start_drill(target).running
    if started is None:
        raise Failure("The drill has ended at once.")
    unsaid = list(STEPS)
    while True:
        drills = look(client)
        for found in (drills.running, *drills.results):
            if found is None or found.id != started.id:
                continue
            last = Step.COMPARING if found.findings else found.step
            while last in unsaid:  # also the steps between two looks
                say(STEPS[unsaid.pop(0)].format(process=found.process))
            if found.step is Step.ENDED:
                return found
        time.sleep(DRILL_POLL_SECONDS)


def look(client: Client) -> Drills:
    """The drills as they are, patiently: every api of a Polka may be down for a while.

    Raises:
        ClientError: nobody answers any more.
    """
    ends_at = time.monotonic() + DRILL_SILENT_SECONDS
    while True:
        try:
            return client.drills()
        except ClientError:
            if time.monotonic() > ends_at:
                raise
        time.sleep(DRILL_POLL_SECONDS)


def show_drill(done: Drill) -> None:
    """The acknowledged and the stored payments, before and after the kill, and the times."""
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
        late = counted(done.late, "payment")
        say(f"{late} took longer than a second, the longest {done.longest_wait_seconds:.2f} s.")
        say(f"{counted(done.repeated, 'request')} {'was' if done.repeated == 1 else 'were'} sent again.")
    if done.failure:
        say(f"[red]The drill failed: {escape(done.failure)}[/]")
    say("Nothing was lost." if done.is_good else "[red]The drill does not prove that nothing was lost.[/]")
