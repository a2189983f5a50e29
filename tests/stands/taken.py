"""Whether Polka's command line accepts a command from a document or another file."""

import click

from polka.command.main import main


def takes(name: str, options: list[str]) -> bool:
    """Whether the subcommand, or one below, accepts these options with these values."""
    rest = list(options)
    command = main.get_command(click.Context(main), name)
    assert command
    while isinstance(command, click.Group) and rest:
        if rest[0] not in command.commands:
            return False
        command = command.commands[rest.pop(0)]
    try:
        command.make_context(name, rest)
    except click.exceptions.NoArgsIsHelpError:  # a group by itself
        return True
    except click.UsageError:
        return False
    return True
