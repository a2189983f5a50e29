"""`polka clearing`: closes, settles and shows windows."""

from collections.abc import Callable

import click

from polka.command.running import run
from polka.command.show import show_netting, show_window
from polka.command.terminal import counts, say, show_table
from polka.local.front_door import ask
from polka.rules.money import figure
from polka.rules.windows import Report, Window


@click.group("clearing")
def clearing_group() -> None:
    """Clearing windows: closing and settling them, and what they come to."""


def clearing_command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command about one window, which it asks an api for."""

    def decorate(work: Callable[..., None]) -> click.Command:
        for option in (
            click.option("--key", envvar="POLKA_KEY", show_envvar=True, help="An operator's API key, polka_…."),
            click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="A Polka's api."),
            click.argument("window", type=click.IntRange(1, 2**63 - 1)),
        ):
            work = option(work)
        return clearing_group.command(name)(work)

    return decorate


@clearing_command("close")
def run_clearing_close(window: int, url: str, key: str | None) -> None:
    """Close the window: all that is committed by now is in it. One that is closed stays as it is."""
    show_window(run(ask(url, key, "POST", "/clearing", Window, {"window": window})))


@clearing_command("settle")
def run_clearing_settle(window: int, url: str, key: str | None) -> None:
    """Bring the nets of a closed window to zero. One that is settled stays as it is."""
    show_window(run(ask(url, key, "POST", f"/clearing/{window}/settle", Window)))


@clearing_command("show")
def run_clearing_show(window: int, url: str, key: str | None) -> None:
    """Show a window's totals by bank and currency, and what clearing saves."""
    report = run(ask(url, key, "GET", f"/clearing/{window}", Report))
    show_window(report)
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
    if report.netting is not None:
        show_netting(report.netting)
    else:
        say("What clearing saves is told soon after a window is closed, to operators.")
