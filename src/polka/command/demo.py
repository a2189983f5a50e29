"""`polka demo`: the main job from start to end."""

import contextlib
import os
import shutil
import sys
from pathlib import Path

import click

from polka import __version__
from polka.command.help import command, option
from polka.command.options import Whole, database_option

RATE_MAX, WATCHED_RATE = 1_000_000, 500.0
BEGINNING = f"""\
Polka {__version__}: a demo. Twenty banks pay each other, Polka clears the payments,
and an audit proves every balance. All of it runs on this machine."""
NEXT = {
    "up": "start a Polka that stays",
    "console": "open its console in a browser, signed in",
    "demo --watch": "watch payments live in the console",
    "--help": "see all commands",
}
"""Commands to try after the demo."""
CHECKOUT = Path(__file__).parents[3]
"""The folder with Polka's documents, unless Polka is installed from a wheel."""
TOUR = "docs/tour.md is a tour of an hour, docs/glossary.md explains the words."
GLOSSARY = "At the foot of the console there is a glossary."


def rate_of(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (rate := float(text)) <= RATE_MAX:
            return rate
    raise click.BadParameter(f"{text!r} is no number of payments a second, above 0 and at most {RATE_MAX:,}.")


@command("demo", "polka demo", "polka demo --transactions 2000 --verbose", "polka demo --watch --rate 2000")
@option("--transactions", type=Whole(1), metavar="N", show_default="20000", help="How many payments to send.")
@option("--watch", is_flag=True, help="Pay until Ctrl-C, for the console. Clear every half minute.")
@option(
    "--rate",
    type=rate_of,
    metavar="NUMBER",
    show_default="as many as possible, or 500 with --watch",
    help="Payments a second.",
)
@option("--apis", default=2, show_default=True, type=Whole(1, 64), metavar="N", help="Api processes.")
@option("--max-workers", default=100, show_default=True, type=Whole(1), metavar="N", help="Clients at once.")
@option("--verbose", is_flag=True, help="List every check of the audit.")
@database_option
def run_demo(
    transactions: int | None,
    watch: bool,
    rate: float | None,
    apis: int,
    max_workers: int,
    verbose: bool,
    database_url: str | None,
) -> None:
    """Start everything, pay, clear, prove every balance, clean up.

    The exit code is 0 if every payment had the expected end and the audit is clean.
    """
    if watch and transactions:
        raise click.UsageError("--watch goes on until Ctrl-C: it goes without --transactions.")
    click.echo(BEGINNING)
    # The imports take a second, and nobody should wait for the first line.
    from polka.command.running import run
    from polka.command.show import show, show_audit, show_cleared
    from polka.command.terminal import say
    from polka.local import demo
    from polka.local.demo import Payments

    if watch:
        payments = Payments(0, rate or WATCHED_RATE, max_workers)
    else:
        payments = Payments(transactions or 20_000, rate or 0, max_workers)
    went_well, done = run(demo.demo(payments, apis, database_url, say, show, show_cleared))
    show_audit(done, is_short=not verbose)
    say("\nTry next:")
    width = max(map(len, NEXT))
    for words, effect in NEXT.items():
        say(f"  {program()} {words:{width}}  {effect}")
    say(TOUR if (CHECKOUT / "docs/tour.md").is_file() else GLOSSARY)
    sys.exit(0 if went_well and done.is_clean else 1)


def program() -> str:
    """The word that a user types for `polka`: the folder of the command may be outside the path."""
    if shutil.which("polka") or os.path.basename(sys.argv[0]) != "polka":
        return "polka"
    return min(os.path.relpath(sys.argv[0]), os.path.abspath(sys.argv[0]), key=len)
