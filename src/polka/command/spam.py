"""`polka spam`: loads a Polka, by Locust."""

import os
from typing import Any

import click

from polka.command.options import seconds_of
from polka.command.terminal import say
from polka.edge import server
from polka.local import environment, spam
from polka.local.spam import Page, Spam
from polka.rules.money import AMOUNT_MAX


@click.command("spam")
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
