"""`polka migrate`, `polka wait` and `polka seed`: steps on a database before Polka starts."""

from polka.command.help import command, option
from polka.command.on_database import on_database
from polka.command.options import Whole, lossy_option, timeout_option
from polka.command.running import run
from polka.command.terminal import counted, say
from polka.store import database, migrate, seed
from polka.store.migrations import REVISION


@command("migrate", "polka migrate --database-url postgresql://polka@db/polka")
@timeout_option("0s", "How long to wait for the database.")
@on_database
@lossy_option
def run_migrate(timeout: float, database_url: str, allow_lossy_database: bool) -> None:
    """Bring the schema of a database up to date.

    A later schema stays as it is.
    """
    revision = run(database.patiently(lambda: migrate.migrate(database_url, allow_lossy_database), timeout, say))
    later = f", later than this Polka's {REVISION}: nothing to do" if revision > REVISION else ""
    say(f"The schema is at revision {revision}{later}.")


@command("wait", "polka wait", "polka wait --timeout 30s --database-url postgresql://polka@db/polka")
@timeout_option("5m", "How long to wait for the database.")
@on_database
@lossy_option
def run_wait(timeout: float, database_url: str, allow_lossy_database: bool) -> None:
    """Wait until a database answers and has the schema.

    A later schema counts, too.
    """
    revision = run(database.patiently(lambda: database.check(database_url, allow_lossy_database), timeout, say))
    say(f"The database answers, at schema revision {revision}.")


@command("seed", "polka seed --banks 20 --accounts 1000")
@option("--banks", default=20, show_default=True, type=Whole(1), metavar="N", help="Banks: bank1, bank2 …")
@option(
    "--accounts",
    default=1000,
    show_default=True,
    type=Whole(0),
    metavar="N",
    help="Accounts in all, spread over the banks.",
)
@on_database
def run_seed(banks: int, accounts: int, database_url: str) -> None:
    """Open banks and accounts for payments."""
    run(seed.seed(database_url, banks, accounts))
    opened = "bank1 is open" if banks == 1 else f"bank1 to {seed.bank_name(banks)} are open"
    say(f"{opened}, with {counted(accounts, 'account')}." if accounts else f"{opened}.")
