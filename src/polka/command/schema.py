"""`polka migrate`, `polka wait` and `polka seed`: what a database needs before Polka starts."""

import click

from polka.command.on_database import on_database
from polka.command.options import lossy_option, timeout_option
from polka.command.running import run
from polka.command.terminal import say
from polka.store import database, migrate, seed
from polka.store.migrations import REVISION


@click.command("migrate")
@timeout_option("0s", "Wait this long for the database.")
@on_database
@lossy_option
def run_migrate(timeout: float, database_url: str, allow_lossy_database: bool) -> None:
    """Bring the database's schema up to date; a later one stays as it is."""
    revision = run(database.patiently(lambda: migrate.migrate(database_url, allow_lossy_database), timeout, say))
    later = f", later than this Polka's {REVISION}: nothing to do" if revision > REVISION else ""
    say(f"The schema is at revision {revision}{later}.")


@click.command("wait")
@timeout_option("5m", "After this long it gives up.")
@on_database
@lossy_option
def run_wait(timeout: float, database_url: str, allow_lossy_database: bool) -> None:
    """Wait until the database answers, with the schema that this Polka needs or a later one."""
    revision = run(database.patiently(lambda: database.check(database_url, allow_lossy_database), timeout, say))
    say(f"The database answers, at schema revision {revision}.")


@click.command("seed")
@click.option("--banks", default=20, show_default=True, type=click.IntRange(1))
@click.option(
    "--accounts",
    default=1000,
    show_default=True,
    type=click.IntRange(0),
    help="In all, spread over the banks.",
)
@on_database
def run_seed(banks: int, accounts: int, database_url: str) -> None:
    """Open banks and accounts to pay between."""
    run(seed.seed(database_url, banks, accounts))
    say(f"There are {banks:,} banks and {accounts:,} accounts.")
