"""`polka spam`: loads a Polka, by Locust."""

import os
from collections.abc import Callable
from typing import Any

import click

from polka.command.terminal import say
from polka.edge import server
from polka.local import environment, spam
from polka.local.spam import Page, Spam
from polka.rules import spam_options
from polka.rules.spam_options import Option


def run_options(command: Callable[..., None]) -> Callable[..., None]:
    """All options of a run, for a command."""
    for option in reversed(spam_options.OPTIONS):
        command = click.option(
            option.flag,
            default=option.default,
            show_default=option.default not in ("", ()),
            type=reader(option),
            multiple=option.is_repeated,
            metavar=option.metavar,
            help=option.description,
        )(command)
    return command


def reader(option: Option) -> Callable[[Any], int | float | str]:
    """Read a value of the option, or its default."""

    def read(value: Any) -> int | float | str:
        try:
            return option.parse(str(value))
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return read


@click.command("spam")
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="A Polka's api.")
@click.option("--max-workers", default=50, show_default=True, type=click.IntRange(1), help="Clients at once.")
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 64))
@click.option("--web", is_flag=True, help="Start Locust's page instead, and run from there.")
@click.option("--web-host", default="127.0.0.1", show_default=True)
@click.option("--web-port", default=8089, show_default=True, type=click.IntRange(1, 65535))
@click.option("--master", is_flag=True, help="With --web: workers elsewhere join, by port 5557, and send.")
@click.option("--worker-of", metavar="HOST", help="Send what the master there says; other options are the master's.")
@click.option("--key", envvar="POLKA_KEY", show_envvar=True, help="The API key to send, polka_….")
@run_options
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
    **options: Any,
) -> None:
    """Load a Polka with random payments; exit 0 only if all were accepted, or refused for a bank's terms."""
    if master and (not web or processes > 1):
        raise click.UsageError("--master goes with --web and without --processes: its workers are elsewhere.")
    try:
        spam_options.check(options)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if options["metrics_port"] and not worker_of:
        server.listen(options["metrics_host"], options["metrics_port"]).close()
    words = [word for option in spam_options.OPTIONS for word in option.words(options[option.field])]
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
