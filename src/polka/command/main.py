"""The command `polka`. Each subcommand has a module of its own, which is imported when it is asked for."""

import signal
import sys
from importlib import import_module
from typing import Any

import click

from polka import __version__
from polka.command.encoding import write_in_any_encoding
from polka.service.failure import Failure

COMMANDS = {
    "api": "serve.run_api",
    "audit": "audit.run_audit",
    "cache": "serve.run_cache",
    "clearing": "clearing.clearing_group",
    "demo": "demo.run_demo",
    "drill": "drill.run_drill",
    "keys": "keys.keys_group",
    "migrate": "schema.run_migrate",
    "seed": "schema.run_seed",
    "spam": "spam.run_spam",
    "up": "up.run_up",
    "wait": "schema.run_wait",
}
"""Where in this package each subcommand is."""


class Commands(click.Group):
    """Imports a subcommand when it is asked for. Shows a Failure as one line, and nothing else."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, function = COMMANDS[name].partition(".")
        found: click.Command = getattr(import_module(f"polka.command.{module}"), function)
        return found

    def main(self, *args: Any, **options: Any) -> Any:
        write_in_any_encoding()
        return super().main(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            click.ClickException(str(failure)).show()
            ctx.exit(failure.exit_code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Polka: a payments processor and clearing house to load, break and watch."""
    # As the first process of a container it gets no signal that it does not ask for; what runs then asks for its own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
