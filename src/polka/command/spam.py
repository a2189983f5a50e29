"""`polka spam`: loads a Polka, by Locust."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from polka.command.help import command, option
from polka.command.on_polka import address_options, polka_of
from polka.command.options import Whole
from polka.command.terminal import say
from polka.edge import server
from polka.local import environment, spam
from polka.local.spam import Page, Spam
from polka.rules import spam_options
from polka.rules.spam_options import Option

PAGE = "Locust's page"
"""A group of options."""


def run_options(work: Callable[..., None]) -> Callable[..., None]:
    """All options of a run, for a command."""
    for one in reversed(spam_options.OPTIONS):
        work = option(
            one.flag,
            default=one.default,
            show_default=one.default not in ("", ()),
            type=reader(one),
            multiple=one.is_repeated,
            metavar=one.metavar,
            group=one.group,
            help=one.description,
        )(work)
    return work


def reader(of: Option) -> Callable[[Any], int | float | str]:
    """Read a value of the option, or its default."""

    def read(value: Any) -> int | float | str:
        try:
            return of.parse(str(value))
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return read


@command("spam", "polka spam --transactions 2000", "polka spam --rate 500 --transactions 0", "polka spam --web")
@run_options
@option(
    "--max-workers",
    default=50,
    show_default=True,
    type=Whole(1),
    metavar="INTEGER",
    group=spam_options.SPEED,
    help="Clients at once.",
)
@option(
    "--processes",
    default=1,
    show_default=True,
    type=Whole(1, 64),
    metavar="INTEGER",
    group=spam_options.SPEED,
    help="Processes that share the clients.",
)
@option("--web", is_flag=True, group=PAGE, help="Start Locust's page, and run from there.")
@option("--web-host", default="127.0.0.1", show_default=True, group=PAGE, help="The address of the page.")
@option(
    "--web-port",
    default=8089,
    show_default=True,
    type=Whole(1, 65535),
    metavar="PORT",
    group=PAGE,
    help="The port of the page.",
)
@option("--master", is_flag=True, group=PAGE, help="With --web: workers elsewhere join by port 5557, and send.")
@option(
    "--worker-of", metavar="HOST", group=PAGE, help="Be a worker of the master there. Its options count, not these."
)
@address_options
def run_spam(
    max_workers: int,
    processes: int,
    web: bool,
    web_host: str,
    web_port: int,
    master: bool,
    worker_of: str | None,
    url: str | None,
    key: str | None,
    data: Path | None,
    **options: Any,
) -> None:
    """Load a Polka with random payments.

    The exit code is 0 only if every payment was accepted, or was rejected by a bank's cap or suspension.
    """
    if master and (not web or processes > 1):
        raise click.UsageError("--master goes with --web and without --processes: its workers are elsewhere.")
    try:
        spam_options.check(options)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if options["metrics_port"] and not worker_of:
        check_port(options["metrics_host"], options["metrics_port"], "--metrics-port")
    if web and not worker_of:
        check_port(web_host, web_port, "--web-port")
    given = [word for one in spam_options.OPTIONS for word in one.words(options[one.field])]
    if worker_of:
        words = spam.worker_command(worker_of)
        say(f"Working for {worker_of}.")
    else:
        polka = polka_of(url, key, data)
        key = polka.key
        page = Page(web_host, web_port, master) if web else None
        words = Spam(polka.url, max_workers, processes, given, page).command()
        if page:
            say(f"Locust's page: http://{web_host}:{web_port}")
    os.chdir("/")  # where no locust.conf of somebody else's lies
    os.execve(words[0], words, environment.of_spammer(key))  # noqa: S606  # Locust takes over, with its signals


def check_port(host: str, port: int, option: str) -> None:
    with server.advising(f"Choose another port with {option}."):
        server.listen(host, port).close()
