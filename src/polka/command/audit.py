"""`polka audit`: proves every balance."""

import sys

from polka.audit import snapshot
from polka.command.arguments import address_of
from polka.command.help import command, option
from polka.command.on_database import on_database
from polka.command.running import run
from polka.command.show import show_audit


@command("audit", "polka audit", "polka audit --data ~/polka-tour")
@option(
    "--cache-url",
    envvar="POLKA_CACHE_URL",
    show_envvar=True,
    type=address_of,
    metavar="URL",
    help="Compare the answers of this cache, too.",
)
@option(
    "--cache-token",
    envvar="POLKA_CACHE_TOKEN",
    show_envvar=True,
    metavar="TOKEN",
    help="The token that the cache asks for.",
)
@on_database
def run_audit(cache_url: str | None, cache_token: str | None, database_url: str) -> None:
    """Prove every balance from the payments.

    The exit code is 1 if anything differs.
    """
    done = run(snapshot.audit(database_url, cache_url, cache_token))
    show_audit(done)
    sys.exit(0 if done.is_clean else 1)
