"""`polka currencies`: lists the currencies for payments."""

from polka.command.help import command
from polka.command.terminal import show_table
from polka.rules.money import CURRENCIES


@command("currencies", "polka currencies")
def run_currencies() -> None:
    """List the currencies for payments."""
    show_table(("currency", "decimal places", "name"), ((one.code, str(one.exponent), one.name) for one in CURRENCIES))
