"""`polka demo`: the main job from start to end."""

import contextlib
import sys

import click

from polka.command.options import database_option
from polka.command.running import run
from polka.command.show import show, show_audit, show_cleared
from polka.command.terminal import say
from polka.local import demo
from polka.local.demo import Payments

RATE_MAX, WATCHED_RATE = 1_000_000, 500.0


def rate_of(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (rate := float(text)) <= RATE_MAX:
            return rate
    raise click.BadParameter(f"{text!r} is no number of payments a second, above 0 and at most {RATE_MAX:,}.")


@click.command("demo")
@click.option("--transactions", type=click.IntRange(1), show_default="20000", help="Payments, exactly.")
@click.option("--watch", is_flag=True, help="Go on until Ctrl-C, for the console; close a window each half minute.")
@click.option("--rate", type=rate_of, show_default="all that it can, or 500 with --watch", help="Payments a second.")
@click.option("--apis", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--max-workers", default=50, show_default=True, type=click.IntRange(1))
@database_option
def run_demo(
    transactions: int | None, watch: bool, rate: float | None, apis: int, max_workers: int, database_url: str | None
) -> None:
    """Start everything, send payments, clear them, prove every balance, and clean up."""
    if watch and transactions:
        raise click.UsageError("--watch goes on until Ctrl-C: it goes without --transactions.")
    if watch:
        payments = Payments(0, rate or WATCHED_RATE, max_workers)
    else:
        payments = Payments(transactions or 20_000, rate or 0, max_workers)
    went_well, done = run(demo.demo(payments, apis, database_url, say, show, show_cleared))
    show_audit(done)
    sys.exit(0 if went_well and done.is_clean else 1)
