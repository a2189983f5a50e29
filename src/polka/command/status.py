"""`polka status`: whether a Polka answers, and its figures."""

from itertools import islice

from polka.client import Client, ProblemError
from polka.command.asking import FORBIDDEN, asking
from polka.command.help import command
from polka.command.on_polka import on_polka
from polka.command.show import show_window
from polka.command.terminal import say, show_table, time_of
from polka.local.presence import Presence
from polka.rules.money import figure


@command("status", "polka status", "polka status --data ~/polka-tour")
@on_polka
def run_status(polka: Presence) -> None:
    """Show whether a Polka answers, and its most important figures."""
    with asking(polka) as client:
        hello = client.hello()
        say(f"Polka {hello.version} answers at {polka.url}.")
        for window in islice(client.windows(page_size=1), 1):
            show_window(window)
        try:
            show_figures(client)
        except ProblemError as error:
            if error.status != FORBIDDEN:
                raise
            say("The key of an operator shows more.")


def show_figures(client: Client) -> None:
    """Show the figures for operators alone: debts and the audit."""
    exposures = client.liquidity(caps=1).currencies
    if exposures:
        show_table(
            ("currency", "banks owe Polka", "Polka owes banks", "Polka holds"),
            (
                (one.currency, *(figure(each, one.currency) for each in (one.owed, one.owes, one.held)))
                for one in exposures
            ),
        )
    runs = client.audits(limit=1).runs
    if not runs:
        say("No audit has run yet.")
        return
    run = runs[0]
    verdict = f"[red]found {run.faults:,} faults[/]" if run.faults else "found no fault"
    skipped = f" {len(run.skipped)} checks were skipped." if run.skipped else ""
    say(f"The audit of {time_of(run.ended_at)} UTC {verdict}.{skipped}")
