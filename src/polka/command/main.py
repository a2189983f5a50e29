"""The command `polka`: every part by itself, and all of it at once."""

import asyncio
import contextlib
import functools
import ipaddress
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import click
from click.core import ParameterSource
from rich.console import Console
from rich.markup import escape

from polka import __version__
from polka.audit import snapshot
from polka.audit.snapshot import Audit
from polka.edge import server
from polka.local import demo, environment, postgres, private, spam
from polka.local.console_key import console_key, console_url
from polka.local.demo import Payments
from polka.local.front_door import ask
from polka.local.spam import Page, Spam
from polka.local.up import Layout, Running, up
from polka.rules import duration
from polka.rules.drills import Drill, Drills, Step, Target
from polka.rules.keys import DEFAULT_SCOPES, NewKey, Scope, is_key
from polka.rules.money import AMOUNT_MAX
from polka.rules.netting import Netting
from polka.rules.transactions import is_bank_name
from polka.rules.windows import Report, Window
from polka.service import logs
from polka.service.failure import Failure, NotYetFailure
from polka.store import api_keys, database, migrate, seed
from polka.store.api_keys import ApiKey, NotMade
from polka.store.database import Connection
from polka.store.migrations import REVISION

console = Console(highlight=False)
DIFFERENCES_SHOWN = 20
RATE_MAX, WATCHED_RATE = 1_000_000, 500.0
DRILL_POLL_SECONDS, DRILL_SILENT_SECONDS = 0.1, 60.0
STEPS = {
    Step.BEFORE: "Paying …",
    Step.AWAY: "{process} is killed …",
    Step.AFTER: "All is well again; paying on …",
    Step.COMPARING: "Comparing with what is stored …",
}
NUMBER = re.compile(r"-?[\d,]+(\.\d+ %)?")

T = TypeVar("T")

database_option = click.option(
    "--database-url", envvar="POLKA_DATABASE_URL", show_envvar=True, help="Postgres, as postgresql://…"
)


def folder_of(text: str) -> Path:
    """A path from the root, whatever folder we are in, and with `~` for the user's home."""
    if not text:
        raise click.BadParameter("The folder has no name.")
    return Path(os.path.realpath(os.path.expanduser(text)))


def data_option(help: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option("--data", type=folder_of, metavar="FOLDER", help=help)


def on_database(work: Callable[..., None]) -> Callable[..., None]:
    """A command on the database that its options name: by a URL, or the Postgres of `polka up` by its folder."""

    @data_option("Folder of the Postgres of `polka up`, if that is not the usual one.")
    @database_option
    @functools.wraps(work)
    def command(data: Path | None, database_url: str | None, **others: Any) -> None:
        source = click.get_current_context().get_parameter_source("database_url")
        if data and source is ParameterSource.COMMANDLINE:
            raise click.UsageError("--data and --database-url name two databases.")
        if database_url and not data:
            return work(database_url=database_url, **others)
        folder = data or postgres.data_folder()
        try:
            return work(database_url=postgres.own_url(folder), **others)
        except NotYetFailure:
            if postgres.is_running(folder):
                raise
            raise Failure(
                f"No Polka of yours runs in {folder}: start it with `polka up`, or say where it is with --data or "
                "--database-url."
            ) from None

    return command


lossy_option = click.option(
    "--allow-lossy-database",
    is_flag=True,
    envvar="POLKA_ALLOW_LOSSY_DATABASE",
    help="For play: take it with fsync off.",
)

no_auth_option = click.option(
    "--no-auth", is_flag=True, envvar="POLKA_NO_AUTH", help="For play: no keys, everybody is an operator."
)


def handed_on_options(work: Callable[..., None]) -> Callable[..., None]:
    """Descriptors of bound sockets that `polka up` hands on: they replace the host and the port."""
    for name in ("--socket", "--metrics-socket"):
        work = click.option(name, type=int, hidden=True)(work)
    return work


reload_option = click.option(
    "--reload", is_flag=True, hidden=True, help="For development: start anew when a file of the code changes."
)


def seconds_of(text: str) -> float:
    seconds = duration.seconds(text)
    if seconds is None:
        raise click.BadParameter(f"{text!r} is no duration such as 30s, 5m or 1m30s.")
    return seconds


def timeout_option(default: str, help: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option("--timeout", default=default, show_default=True, type=seconds_of, metavar="DURATION", help=help)


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
    # As the first process of a container it gets no signal that it does not ask for; what runs then asks for its own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@main.command("up")
@click.option("--apis", default=2, show_default=True, type=click.IntRange(1, 64), help="Api processes.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Where clients connect.")
@click.option(
    "--cache-port",
    type=click.IntRange(1, 65535),
    show_default="8100, or any free one",
    help="Where the cache listens.",
)
@data_option("Folder of Polka's own Postgres.")
@database_option
@lossy_option
@no_auth_option
def run_up(
    apis: int,
    port: int,
    cache_port: int | None,
    data: Path | None,
    database_url: str | None,
    allow_lossy_database: bool,
    no_auth: bool,
) -> None:
    """Everything on this machine: Postgres, the cache and several apis behind one port."""
    folder = data or postgres.data_folder()
    layout = Layout(apis, port, cache_port, folder, database_url, allow_lossy_database, no_auth)
    run(stay_up(layout), interrupted=0)


async def stay_up(layout: Layout) -> None:
    async with up(layout, say) as running:
        show(running)
        if layout.no_auth:
            say("[red]No keys are asked for: everybody on this machine is an operator.[/]")
        elif not await with_database(running.database_url, api_keys.exist):
            await make_first_key(running)
        say(f"The console: {await console_address(running)}")
        say("Ctrl-C stops them all.")
        await asyncio.Event().wait()


async def make_first_key(running: Running) -> None:
    """Make an operator's key, and show it on a terminal alone: what is written elsewhere, others may read."""
    url = f"{running.layout.url}/banks"
    key = api_keys.new_key()
    file = running.layout.folder / "operator-key"
    if not sys.stdout.isatty():
        private.write(file, key)
    await with_database(running.database_url, lambda connection: api_keys.create_operators(connection, "first", key))
    if sys.stdout.isatty():
        say(f"An operator's key, shown this once: {key}")
        say(f"  curl -H 'Authorization: Bearer {key}' {url}")
    else:
        say(f"An operator's key is in {escape(str(file))}, which you alone can read.")
        say(f'  curl -H "Authorization: Bearer $(cat {escape(shlex.quote(str(file)))})" {url}')


async def console_address(running: Running) -> str:
    """Where the console is. On a terminal it opens by itself there; what goes into a file or a log has no key."""
    layout = running.layout
    if layout.no_auth or layout.database_url or not sys.stdout.isatty():
        return f"{layout.url}/console"
    key = await with_database(running.database_url, lambda connection: console_key(connection, layout.folder))
    return console_url(layout.url, key)


@main.command("api")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--shared", is_flag=True, help="Share the port with other apis on this machine.")
@handed_on_options
@no_auth_option
@reload_option
def run_api(host: str, port: int, shared: bool, no_auth: bool, reload: bool, **handed_on: int | None) -> None:
    """One api process, as in a container."""
    serve("api", host, port, shared, no_auth, reload, **handed_on)


@main.command("cache")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8100, show_default=True, type=click.IntRange(1, 65535))
@handed_on_options
@no_auth_option
@reload_option
def run_cache(host: str, port: int, no_auth: bool, reload: bool, **handed_on: int | None) -> None:
    """The ledger cache, as in a container: one process. Of two, the later one takes over."""
    serve("cache", host, port, False, no_auth, reload, **handed_on)


def serve(
    name: str,
    host: str,
    port: int,
    shared: bool,
    no_auth: bool,
    reload: bool,
    socket: int | None,
    metrics_socket: int | None,
) -> None:
    with logs.opened(name):
        if metrics_socket is None:
            sockets = server.listen_for_all(host, port, shared)
        else:
            clients = server.listen(host, port, shared) if socket is None else server.handed_on(socket)
            sockets = server.Sockets([clients], server.handed_on(metrics_socket))
        if no_auth:
            ask_for_no_keys(sockets.clients)
        run_service = server.run_reloading if reload else server.run
        run_service(f"{name}.app:app", sockets)


def ask_for_no_keys(sockets: Iterable[socket.socket]) -> None:
    """Set what the flag stands for, where nobody can come from outside.

    Raises:
        Failure: a socket is open to other machines.
    """
    for bound in sockets:
        host = bound.getsockname()[0]
        if not ipaddress.ip_address(host).is_loopback:
            raise Failure(f"Without keys it may listen on this machine alone, not on {host}.")
    os.environ["POLKA_NO_AUTH"] = "true"


@main.command("migrate")
@timeout_option("0s", "Wait this long for the database.")
@on_database
@lossy_option
def run_migrate(timeout: float, database_url: str, allow_lossy_database: bool) -> None:
    """Bring the database's schema up to date; a later one stays as it is."""
    revision = run(database.patiently(lambda: migrate.migrate(database_url, allow_lossy_database), timeout, say))
    later = f", later than this Polka's {REVISION}: nothing to do" if revision > REVISION else ""
    say(f"The schema is at revision {revision}{later}.")


@main.command("wait")
@timeout_option("5m", "After this long it gives up.")
@on_database
@lossy_option
def run_wait(timeout: float, database_url: str, allow_lossy_database: bool) -> None:
    """Wait until the database answers, with the schema that this Polka needs or a later one."""
    revision = run(database.patiently(lambda: database.check(database_url, allow_lossy_database), timeout, say))
    say(f"The database answers, at schema revision {revision}.")


@main.command("seed")
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


@main.group("keys")
def keys_group() -> None:
    """API keys: who may call the api, and what for."""


@keys_group.command("create")
@click.option("--name", required=True, help="For people, to tell keys apart.")
@click.option("--bank", help="The bank that it acts for; without one it is an operator's.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    default=[scope.value for scope in DEFAULT_SCOPES],
    show_default=True,
    help="What it may do; may be repeated.",
)
@click.option("--expires-at", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), help="As 2027-01-31T12:00:00Z.")
@click.option(
    "--key",
    default=lambda: os.environ.get("POLKA_NEW_KEY"),
    show_default="POLKA_NEW_KEY, or a new one",
    help="A key made elsewhere, which is not printed: polka_ and 40 hexadecimal digits.",
)
@on_database
def run_keys_create(
    name: str,
    bank: str | None,
    scopes: tuple[str, ...],
    expires_at: datetime | None,
    key: str | None,
    database_url: str,
) -> None:
    """Make a key and print it: only its hash is kept. One made elsewhere is stored once, however often it is given."""
    if not is_bank_name(name):
        raise Failure("A key's name is 1 to 64 letters, digits, spaces, dots, hyphens or underscores.")
    new = NewKey(name, bank, tuple(Scope(scope) for scope in scopes), expires_at)
    if refused := new.refused_scopes():
        raise Failure(f"A bank's key cannot have the scope {refused[0]}.")
    if key is not None and not is_key(key):
        raise Failure("A key, in --key or POLKA_NEW_KEY, is polka_ and 40 hexadecimal digits in lower case.")
    stored = key or api_keys.new_key()
    made = run(with_database(database_url, lambda connection: api_keys.create(connection, stored, new)))
    if made is NotMade.UNKNOWN_BANK:
        raise Failure(f"There is no bank {bank}.")
    if made is NotMade.EXPIRED:
        raise Failure("--expires-at: must be in the future.")
    if isinstance(made, NotMade):
        found = run(with_database(database_url, lambda connection: api_keys.find(connection, stored)))
        if found is None:
            raise Failure("The key was not made.")
        state = "It was revoked, and stays so" if found.revoked_at else "It was there before, and stays as it is"
        say(f"{described(found)}. {state}.")
    elif key:
        say(f"{described(made)}.")
    else:
        click.echo(f"{described(made)}. Shown this once:", err=True)
        click.echo(stored)


def described(key: ApiKey) -> str:
    expires = f", until {key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else ""
    return f"Key {key.id} for {key.bank or 'operators'}: {', '.join(key.scopes)}{expires}"


@keys_group.command("list")
@on_database
def run_keys_list(database_url: str) -> None:
    """All keys, the revoked ones too."""
    show_keys(run(with_database(database_url, api_keys.listed)))


@keys_group.command("revoke")
@click.argument("id")
@on_database
def run_keys_revoke(id: str, database_url: str) -> None:
    """Have a key refused, by every api within a second."""
    try:
        wanted = UUID(id)
    except ValueError:
        raise Failure("A key's id is as `polka keys list` shows it.") from None
    revoked = run(with_database(database_url, lambda connection: api_keys.revoke(connection, wanted)))
    if revoked is None:
        raise Failure(f"There is no key with the id {wanted}.")
    say(f"Key {revoked.id}, {revoked.name}, is revoked.")


async def with_database(url: str, work: Callable[[Connection], Awaitable[T]]) -> T:
    await database.check(url, allow_lossy=True)
    async with database.session(url) as connection:
        return await work(connection)


@main.command("audit")
@click.option("--cache-url", envvar="POLKA_CACHE_URL", show_envvar=True, help="Compare this cache's answers too.")
@click.option("--cache-token", envvar="POLKA_CACHE_TOKEN", show_envvar=True, help="What the cache asks for.")
@on_database
def run_audit(cache_url: str | None, cache_token: str | None, database_url: str) -> None:
    """Prove every balance from the transactions; exit 1 if anything differs."""
    done = run(snapshot.audit(database_url, cache_url, cache_token))
    show_audit(done)
    sys.exit(0 if done.is_clean else 1)


@main.group("clearing")
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
    """The window's totals by bank and currency, and what clearing saves: amounts in minor units."""
    report = run(ask(url, key, "GET", f"/clearing/{window}", Report))
    show_window(report)
    show_table(
        ("bank", "currency", "debits", "credits", "count", "fees", "interest", "net"),
        (
            (one.bank, one.currency, *amounts(one.debits, one.credits, one.count, one.fees, one.interest, one.net))
            for one in report.totals
        ),
    )
    if report.netting is not None:
        show_netting(report.netting)
    else:
        say("What clearing saves is told soon after a window is closed, to operators.")


@main.command("drill")
@click.argument("target", type=click.Choice([target.value for target in Target]))
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="A local Polka's api.")
@click.option("--key", envvar="POLKA_KEY", show_envvar=True, help="An operator's API key, polka_….")
def run_drill(target: str, url: str, key: str | None) -> None:
    """Kill a process of a running `polka up`, and count what that costs; exit 1 unless nothing is lost or doubled."""
    done = run(drill(url, key, target))
    show_drill(done)
    sys.exit(0 if done.is_good else 1)


async def drill(url: str, key: str | None, target: str) -> Drill:
    """The drill, once it has ended. Its api may be the one that is killed: what it does not answer is asked again.

    Raises:
        Failure: it is refused, or nobody answers any more.
    """
    started = (await ask(url, key, "POST", "/drills", Drills, {"target": target})).running
    if started is None:
        raise Failure("The drill has ended at once.")
    unsaid = list(STEPS)
    while True:
        drills = await database.patiently(lambda: look(url, key), DRILL_SILENT_SECONDS, lambda _: None)
        for found in (drills.running, *drills.results):
            if found is None or found.id != started.id:
                continue
            last = Step.COMPARING if found.findings else found.step
            while last in unsaid:  # also the steps between two looks
                say(STEPS[unsaid.pop(0)].format(process=found.process))
            if found.step is Step.ENDED:
                return found
        await asyncio.sleep(DRILL_POLL_SECONDS)


async def look(url: str, key: str | None) -> Drills:
    try:
        return await ask(url, key, "GET", "/drills", Drills)
    except Failure as failure:
        raise NotYetFailure(str(failure)) from None


@main.command("spam")
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="A Polka's api.")
@click.option("--max-workers", default=50, show_default=True, type=click.IntRange(1), help="Clients at once.")
@click.option("--transactions", default=20_000, show_default=True, type=click.IntRange(0), help="Payments; 0: no end.")
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 64))
@click.option("--web", is_flag=True, help="Start Locust's page instead, and run from there.")
@click.option("--web-host", default="127.0.0.1", show_default=True)
@click.option("--web-port", default=8089, show_default=True, type=click.IntRange(1, 65535))
@click.option("--master", is_flag=True, help="With --web: workers elsewhere join, by port 5557, and send.")
@click.option("--worker-of", metavar="HOST", help="Send what the master there says; other options are the master's.")
@click.option(
    "--banks",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Pay between so many, bank1 and so on, and open those that are missing; 0: between all that are there.",
)
@click.option("--currencies", default="USD", show_default=True, help="Of the payments, in equal shares: USD,EUR,JPY.")
@click.option(
    "--across",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="The share of payments whose receiver gets another of the currencies.",
)
@click.option(
    "--terms",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Agree a net debit cap and fees with so many of the banks, the last ones, before the run.",
)
@click.option(
    "--cap",
    default=5_000_000,
    show_default=True,
    type=click.IntRange(0, AMOUNT_MAX),
    help="What each of them may owe, in minor units of each currency.",
)
@click.option("--seed", default=1, show_default=True, help="The same seed draws the same payments.")
@click.option("--skew", default=0.0, show_default=True, help="Zipf's exponent: with 1 some banks are hot.")
@click.option("--accounts", default=50, show_default=True, type=click.IntRange(1), help="Accounts at each bank.")
@click.option("--mix", default="post=100", show_default=True, help="What goes along: post=90,delete=5,patch=3,get=2.")
@click.option("--bulk", default=1, show_default=True, type=click.IntRange(1, 1000), help="Payments in one request.")
@click.option("--rate", default=0.0, show_default=True, type=click.FloatRange(0), help="Payments a second; 0: no plan.")
@click.option(
    "--retries",
    default=40,
    show_default=True,
    type=click.IntRange(0),
    help="Attempts beyond the first, with the same key; 40 outlast a minute without an answer.",
)
@click.option("--run-name", default="", help="In each idempotency key: a run of the same name pays nothing twice.")
@click.option(
    "--wait", default="0s", show_default=True, type=seconds_of, metavar="DURATION", help="Wait this long for the api."
)
@click.option("--client-timeout", default=15.0, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option("--connect-timeout", default=5.0, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option(
    "--pool",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Connections that the workers share; 0: one each.",
)
@click.option("--key", envvar="POLKA_KEY", show_envvar=True, help="The API key to send, polka_….")
@click.option("--metrics-host", default="127.0.0.1", show_default=True)
@click.option(
    "--metrics-port",
    default=0,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Serve the counts of all workers and processes at /metrics there; 0: nowhere.",
)
@click.option("--header", multiple=True, help="`Name: value` to send along; may be repeated.")
@click.option("--progress", default="line", show_default=True, type=click.Choice(["line", "lines", "none"]))
def run_spam(
    url: str,
    max_workers: int,
    processes: int,
    web: bool,
    web_host: str,
    web_port: int,
    master: bool,
    worker_of: str | None,
    key: str | None,
    header: tuple[str, ...],
    **options: Any,
) -> None:
    """Load a Polka with random payments; exit 0 only if all were accepted, or refused for a bank's terms."""
    if master and (not web or processes > 1):
        raise click.UsageError("--master goes with --web and without --processes: its workers are elsewhere.")
    if options["metrics_port"] and not worker_of:
        server.listen(options["metrics_host"], options["metrics_port"]).close()
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    words += [f"--header={line}" for line in header]
    if worker_of:
        command = spam.worker_command(worker_of)
        say(f"Working for {worker_of}.")
    elif web:
        command = Spam(url, max_workers, processes, words, Page(web_host, web_port, master)).command()
        say(f"Locust's page: http://{web_host}:{web_port}")
    else:
        command = Spam(url, max_workers, processes, words).command()
    os.chdir("/")  # where no locust.conf of somebody else's lies
    os.execve(command[0], command, environment.of_spammer(key))  # noqa: S606  # Locust takes over, with its signals


def rate_of(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (rate := float(text)) <= RATE_MAX:
            return rate
    raise click.BadParameter(f"{text!r} is no number of payments a second, above 0 and at most {RATE_MAX:,}.")


@main.command("demo")
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
    show_table(
        ("process", "pid", "address", "metrics and health"),
        (
            (process.name, str(process.pid or "-"), process.address, process.monitored_at or "-")
            for process in running.processes
        ),
    )
    say(f"Polka is at {running.layout.url}")


def show_keys(keys: Iterable[ApiKey]) -> None:
    rows = []
    for key in keys:
        times = (key.created_at, key.expires_at, key.last_used_at, key.revoked_at)
        shown = (f"{at:%Y-%m-%d %H:%M}" if at else "-" for at in times)
        rows.append((key.id, key.name, key.bank or "-", " ".join(key.scopes), *shown))
    show_table(("id", "name", "bank", "scopes", "made", "expires", "last used", "revoked"), rows)


def show_table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Numbers to the right, all else to the left."""
    table = [tuple(names), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    to_right = [all(NUMBER.fullmatch(cell) for cell in column[1:]) for column in zip(*table, strict=True)]
    for row in table:
        cells = zip(row, widths, to_right, strict=True)
        say("  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells).rstrip())


def show_window(window: Window) -> None:
    steps = [("opened", window.opened_at), ("closed", window.closed_at), ("settled", window.settled_at)]
    times = ", ".join(f"{step} {at:%Y-%m-%d %H:%M:%S}" for step, at in steps if at)
    scheduled = f", as scheduled for {window.scheduled_for:%Y-%m-%d %H:%M:%S}" if window.scheduled_for else ""
    say(f"Window {window.id} is {window.state}: {times} UTC{scheduled}")


def show_cleared(report: Report) -> None:
    show_window(report)
    show_netting(report.netting or [])


def show_netting(netting: Iterable[Netting]) -> None:
    """What would have to be paid, in minor units, and the part of it that clearing saves."""
    show_table(
        ("currency", "payment by payment", "pair by pair", "cleared", "saved"),
        ((one.currency, *amounts(one.gross, one.bilateral, one.multilateral), share(one)) for one in netting),
    )


def amounts(*numbers: int) -> list[str]:
    return [f"{number:,}" for number in numbers]


def share(netting: Netting) -> str:
    """What is saved of the gross, in percent, rounded down: 99.9 % is not all."""
    tenths = 1000 * netting.saving // netting.gross
    return f"{tenths // 10}.{tenths % 10} %"


def show_drill(done: Drill) -> None:
    """What was acknowledged and what is stored, before the kill and after it, and how long it took."""
    if found := done.findings:
        show_table(
            ("", "acknowledged", "stored"),
            (
                ("before the kill", *amounts(done.acknowledged_before, found.stored_before)),
                ("after it", *amounts(done.acknowledged_after, found.stored_after)),
            ),
        )
        say(f"Lost {found.lost:,}, doubled {found.doubled:,}, stored without a yes {found.unacknowledged:,}.")
        for difference in found.wrong_balances[:DIFFERENCES_SHOWN]:
            say(f"  [red]{difference}[/]")
    if done.first_answer_seconds is not None and done.ready_seconds is not None:
        say(
            f"First yes {done.first_answer_seconds:.2f} s after the kill, {done.process} ready again after "
            f"{done.ready_seconds:.2f} s; {done.late:,} waited longer than a second, the longest "
            f"{done.longest_wait_seconds:.2f} s; {done.repeated:,} requests were sent again."
        )
    if done.failure:
        say(f"[red]The drill failed: {escape(done.failure)}[/]")
    say("Nothing was lost." if done.is_good else "[red]The drill does not prove that nothing was lost.[/]")


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
