"""Commands and their help texts: options in groups, examples, and a suggestion for a mistyped command."""

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

import click

OPTIONS = "Options"
"""The group of options without another group."""
NEGATIVE = re.compile(r"-[\d.,]")


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

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read a negative number as an argument, not as an option. The argument then rejects the number."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if not NEGATIVE.match(error.option_name):
                raise
            ctx.ignore_unknown_options = True
            return super().parse_args(ctx, words)

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


class Group(click.Group):
    """Commands under one name. For an unknown command it suggests a similar one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            similar = difflib.get_close_matches(name, self.list_commands(ctx), 1)
            ctx.fail(f"No such command {name!r}." + "".join(f" Did you mean {one!r}?" for one in similar))
        return super().resolve_command(ctx, args)


class GroupWithDefault(Group):
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
