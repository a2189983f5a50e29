"""Help texts of commands: options in groups, and examples."""

from collections.abc import Callable, Sequence
from typing import Any

import click

OPTIONS = "Options"
"""The group of options without another group."""


class Option(click.Option):
    """An option and its group in the help text."""

    def __init__(self, *names: Any, group: str = OPTIONS, **others: Any) -> None:
        super().__init__(*names, **others)
        self.group = group


class Command(click.Command):
    """A command with examples."""

    def __init__(self, *names: Any, examples: Sequence[str] = (), **others: Any) -> None:
        super().__init__(*names, **others)
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)) is not None:
                groups.setdefault(getattr(parameter, "group", OPTIONS), []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")


class GroupWithDefault(click.Group):
    """Commands under one name. Without a command, or with options alone, the name runs the command `default`."""

    def __init__(self, *names: Any, default: str, **others: Any) -> None:
        super().__init__(*names, **others)
        self.default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_default = not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)
        return super().parse_args(ctx, [self.default, *args] if is_default else args)


def option(*names: str, group: str = OPTIONS, **others: Any) -> Callable[[Any], Any]:
    """An option in a group, for a command."""
    return click.option(*names, cls=Option, group=group, **others)


def command(name: str, *examples: str) -> Callable[[Callable[..., Any]], Command]:
    """A command with these examples."""
    return click.command(name, cls=Command, examples=examples)
