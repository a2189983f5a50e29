"""The command `polka`: every part by itself, and all of it at once."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from polka import __version__, audit, demo, migrate, postgres, seed, server
from polka.audit import Audit
from polka.failure import Failure
from polka.spam import Spam
from polka.up import Layout, Running, up

console = Console(highlight=False)
DIFFERENCES_SHOWN = 20

database_option = click.option(
    "--database-url", envvar="POLKA_DATABASE_URL", show_envvar=True, help="Postgres, as postgresql://…"
)
needed_database_option = click.option(
    "--database-url",
    envvar="POLKA_DATABASE_URL",
    show_envvar=True,
    default=lambda: postgres.own_url(postgres.data_folder()),
    show_default="the Postgres of `polka up`",
    help="Postgres, as postgresql://…",
)
lossy_option = click.option(
    "--allow-lossy-database",
    is_flag=True,
    envvar="POLKA_ALLOW_LOSSY_DATABASE",
    help="For play: take it with fsync off.",
)


class OneLine(click.Group):
    """Shows a Failure as one line, and nothing else."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            click.ClickException(str(failure)).show()
            ctx.exit(failure.exit_code)


@click.group(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Polka: a payments processor and clearing house to load, break and watch."""


@main.command("up")
@click.option("--apis", default=2, show_default=True, type=click.IntRange(1, 64), help="Api processes.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Where clients connect.")
@click.option("--cache-port", default=8100, show_default=True, type=click.IntRange(1, 65535))
@click.option("--data", type=click.Path(path_type=Path), help="Folder of Polka's own Postgres.")
@database_option
@lossy_option
def run_up(
    apis: int, port: int, cache_port: int, data: Path | None, database_url: str | None, allow_lossy_database: bool
) -> None:
    """Everything on this machine: Postgres, the cache and several apis behind one port."""
    folder = data or postgres.data_folder()
    layout = Layout(apis, port, cache_port, folder, database_url, allow_lossy_database)
    run(stay_up(layout), interrupted=0)


async def stay_up(layout: Layout) -> None:
    async with up(layout, say) as running:
        show(running)
        say("Ctrl-C stops them all.")
        await asyncio.Event().wait()


@main.command("api")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--shared-port", type=click.IntRange(1, 65535), help="A second port, which several apis share.")
def run_api(host: str, port: int, shared_port: int | None) -> None:
    """One api process, as in a container."""
    sockets = [server.listen(host, port)]
    if shared_port:
        sockets.append(server.listen(host, shared_port, shared=True))
    server.run("api.app:app", sockets)


@main.command("cache")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8100, show_default=True, type=click.IntRange(1, 65535))
def run_cache(host: str, port: int) -> None:
    """The ledger cache, as in a container: one process. Of two, the later one takes over."""
    server.run("cache.app:app", [server.listen(host, port)])


@main.command("migrate")
@needed_database_option
@lossy_option
def run_migrate(database_url: str, allow_lossy_database: bool) -> None:
    """Bring the database's schema up to date."""
    revision = run(migrate.migrate(database_url, allow_lossy_database))
    say(f"The schema is at revision {revision}.")


@main.command("seed")
@click.option("--banks", default=20, show_default=True, type=click.IntRange(1))
@click.option(
    "--accounts",
    default=1000,
    show_default=True,
    type=click.IntRange(0),
    help="In all, spread over the banks.",
)
@needed_database_option
def run_seed(banks: int, accounts: int, database_url: str) -> None:
    """Open banks and accounts to pay between."""
    run(seed.seed(database_url, banks, accounts))
    say(f"There are {banks:,} banks and {accounts:,} accounts.")


@main.command("audit")
@click.option("--cache-url", envvar="POLKA_CACHE_URL", show_envvar=True, help="Compare this cache's answers too.")
@needed_database_option
def run_audit(cache_url: str | None, database_url: str) -> None:
    """Prove every balance from the transactions; exit 1 if anything differs."""
    done = run(audit.audit(database_url, cache_url))
    show_audit(done)
    sys.exit(0 if done.is_clean else 1)


@main.command("spam")
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="A Polka's api.")
@click.option("--max-workers", default=50, show_default=True, type=click.IntRange(1), help="Clients at once.")
@click.option("--transactions", default=20_000, show_default=True, type=click.IntRange(1), help="Payments, exactly.")
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 64))
@click.option("--web", is_flag=True, help="Start Locust's page instead, and run from there.")
@click.option("--web-port", default=8089, show_default=True, type=click.IntRange(1, 65535))
@click.option("--seed", default=1, show_default=True, help="The same seed draws the same payments.")
@click.option("--skew", default=0.0, show_default=True, help="Zipf's exponent: with 1 some banks are hot.")
@click.option("--accounts", default=50, show_default=True, type=click.IntRange(1), help="Accounts at each bank.")
@click.option("--rate", default=0.0, show_default=True, type=click.FloatRange(0), help="Payments a second; 0: no plan.")
@click.option("--retries", default=20, show_default=True, type=click.IntRange(0))
@click.option("--client-timeout", default=15.0, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option("--connect-timeout", default=5.0, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option("--pool", default=0, show_default=True, help="Connections that the workers share; 0: one each.")
@click.option("--header", multiple=True, help="`Name: value` to send along; may be repeated.")
@click.option("--progress", default="line", show_default=True, type=click.Choice(["line", "lines", "none"]))
def run_spam(
    url: str,
    max_workers: int,
    processes: int,
    web: bool,
    web_port: int,
    header: tuple[str, ...],
    **options: Any,
) -> None:
    """Load a Polka with random payments; exit 0 only if all of them were accepted."""
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    words += [f"--header={line}" for line in header]
    command = Spam(url, max_workers, processes, words, web_port if web else None).command()
    if web:
        say(f"Locust's page: http://127.0.0.1:{web_port}")
    os.execv(command[0], command)  # noqa: S606  # Locust takes this process over, and its signals


@main.command("demo")
@click.option("--transactions", default=20_000, show_default=True, type=click.IntRange(1))
@click.option("--apis", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--max-workers", default=50, show_default=True, type=click.IntRange(1))
@database_option
def run_demo(transactions: int, apis: int, max_workers: int, database_url: str | None) -> None:
    """Start everything, send payments, prove every balance, and clean up."""
    all_accepted, done = run(demo.demo(transactions, apis, max_workers, database_url, say, show))
    show_audit(done)
    sys.exit(0 if all_accepted and done.is_clean else 1)


T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], interrupted: int = 130) -> T:
    """Run to the end; Ctrl-C or SIGTERM stop it in order, and the exit code is `interrupted` then."""

    async def until_stopped() -> T:
        task = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel if task else sys.exit)
        return await work

    try:
        return asyncio.run(until_stopped())
    except asyncio.CancelledError:
        say("Stopped.")
        sys.exit(interrupted)


def say(text: str) -> None:
    console.print(text, soft_wrap=True)


def show(running: Running) -> None:
    say("process     pid       address")
    for process in running.processes:
        say(f"{process.name:<10}  {process.pid or '-':<8}  {process.address}")
    say(f"Polka is at {running.layout.url}")


def show_audit(done: Audit) -> None:
    counts = done.counts
    say(
        f"Audit at flush {counts['flush']:,}: {counts['transactions']:,} transactions, {counts['banks']:,} banks, "
        f"{counts['accounts']:,} accounts, {counts['unposted']:,} unposted batches"
    )
    for check, differences in done.differences.items():
        say(f"  {'[red]FAILED[/]' if differences else '[green]holds[/] '}  {check}")
        for difference in differences[:DIFFERENCES_SHOWN]:
            amount = difference.found - difference.expected
            say(
                f"          {difference.subject}: {difference.found:,} instead of {difference.expected:,} ({amount:+,})"
            )
        if len(differences) > DIFFERENCES_SHOWN:
            say(f"          … and {len(differences) - DIFFERENCES_SHOWN:,} more")
    say("The audit is clean." if done.is_clean else "[red]The audit has failed.[/]")
