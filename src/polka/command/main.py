"""The command `polka`. Each subcommand has a module of its own, imported on demand."""

import errno
import signal
import sys
from importlib import import_module
from typing import Any, NamedTuple

import click

from polka import __version__
from polka.command import errors
from polka.command.encoding import check_encoding, drop_output, write_in_any_encoding
from polka.command.help import Group
from polka.service.failure import Failure


class Place(NamedTuple):
    """Where in this package a subcommand is, and its line in the list of commands."""

    name: str
    help: str


SECTIONS = {
    "Start": {
        "up": Place("up.run_up", "Start everything on this machine and keep it running."),
        "demo": Place("demo.run_demo", "Start everything, pay, clear, prove every balance, clean up."),
    },
    "Use": {
        "status": Place("status.run_status", "Show whether a Polka answers, and its most important figures."),
        "console": Place("console.run_console", "Open the console in a browser, already signed in."),
        "pay": Place("pay.run_pay", "Make one payment."),
        "payments": Place("listing.run_payments", "List payments, the newest first."),
        "banks": Place("banks.banks_group", "List banks with their balances, open banks, set caps."),
        "currencies": Place("currencies.run_currencies", "List the currencies for payments."),
    },
    "Operate": {
        "clearing": Place("clearing.clearing_group", "Close, settle, list and show clearing windows."),
        "keys": Place("keys.keys_group", "Make, list and revoke API keys."),
        "seed": Place("schema.run_seed", "Open banks and accounts for payments."),
        "audit": Place("audit.run_audit", "Prove every balance from the payments."),
    },
    "Load and break": {
        "spam": Place("spam.run_spam", "Load a Polka with random payments."),
        "drill": Place("drill.run_drill", "Kill a process of your `polka up` under load, and count."),
    },
    "Single parts, as in containers": {
        "api": Place("serve.run_api", "Run one api process."),
        "cache": Place("serve.run_cache", "Run the cache."),
        "migrate": Place("schema.run_migrate", "Bring the schema of a database up to date."),
        "wait": Place("schema.run_wait", "Wait until a database answers and has the schema."),
    },
}
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""The errors of full and broken disks."""
COMMANDS = {name: place for section in SECTIONS.values() for name, place in section.items()}


class Commands(Group):
    """Imports a subcommand on demand. Shows a Failure as a line, and nothing else."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, function = COMMANDS[name].name.partition(".")
        found: click.Command = getattr(import_module(f"polka.command.{module}"), function)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:10}", place.help) for name, place in section.items()])

    def main(self, *args: Any, **options: Any) -> Any:
        write_in_any_encoding()
        try:
            return super().main(*args, **options)
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            errors.say(f"Error: Cannot write {error.filename or 'the output'}: {error.strerror}.")
            drop_output()
            sys.exit(1)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        check_encoding(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            errors.show(click.ClickException(str(failure)))
            ctx.exit(failure.exit_code)
        except click.ClickException as error:
            errors.show(error)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("Stopped.")
            ctx.exit(128 + signal.SIGINT)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`polka COMMAND --help` shows the options of a command, and examples.",
)
@click.version_option(__version__)
def main() -> None:
    """Polka: a payments processor and clearing house to load, break and watch."""
    # The first process of a container gets only signals with a handler. Commands that run longer set their own
    # handlers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
