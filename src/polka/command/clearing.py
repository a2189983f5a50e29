"""`polka clearing`: closes, settles, lists and shows windows."""

from collections.abc import Callable

import click

from polka.command.asking import asking
from polka.command.help import Command, Group, command
from polka.command.listing import first, limit_option, say_more
from polka.command.on_polka import on_polka
from polka.command.options import Whole
from polka.command.show import show_netting, show_window
from polka.command.terminal import counts, say, show_table, time_of
from polka.local.presence import Presence
from polka.rules.money import figure
from polka.rules.windows import Report


@click.group("clearing", cls=Group)
def clearing_group() -> None:
    """Close, settle, list and show clearing windows."""


def clearing_command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command about one window."""

    def decorate(work: Callable[..., None]) -> click.Command:
        of_window = click.argument("window", type=Whole(1))(work)
        made = command(name, f"polka clearing {name} 1")(on_polka(of_window))
        clearing_group.add_command(made)
        return made

    return decorate


@clearing_group.command("list", cls=Command, examples=["polka clearing list", "polka clearing list --limit 100"])
@limit_option("windows")
@on_polka
def run_clearing_list(limit: int, polka: Presence) -> None:
    """List clearing windows, the newest first."""
    with asking(polka) as client:
        found, is_more = first(client.windows, limit)
    show_table(
        ("window", "state", "opened (UTC)", "closed (UTC)", "settled (UTC)"),
        (
            (str(one.id), one.state, time_of(one.opened_at), time_of(one.closed_at), time_of(one.settled_at))
            for one in found
        ),
    )
    say_more(is_more)


@clearing_command("close")
def run_clearing_close(window: int, polka: Presence) -> None:
    """Close a window with all payments up to now.

    A closed window stays as it is.
    """
    with asking(polka) as client:
        show_window(client.close_window(window))


@clearing_command("settle")
def run_clearing_settle(window: int, polka: Presence) -> None:
    """Settle a closed window: its nets become zero.

    A settled window stays as it is.
    """
    with asking(polka) as client:
        show_window(client.settle_window(window))


@clearing_command("show")
def run_clearing_show(window: int, polka: Presence) -> None:
    """Show a window: totals by bank, and the saving by clearing."""
    with asking(polka) as client:
        report = client.window(window)
    show_window(report)
    show_totals(report)
    if report.netting is not None:
        show_netting(report.netting)
    else:
        say("Operators see the saving by clearing soon after the window is closed.")


def show_totals(report: Report) -> None:
    show_table(
        ("bank", "currency", "debits", "credits", "count", "fees", "interest", "net"),
        (
            (
                one.bank,
                one.currency,
                figure(one.debits, one.currency),
                figure(one.credits, one.currency),
                *counts(one.count),
                *(figure(amount, one.currency) for amount in (one.fees, one.interest, one.net)),
            )
            for one in report.totals
        ),
    )
