"""Help texts: every command has one, which is readable at 80 columns."""

import shlex
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from polka.command.help import Command
from polka.command.main import COMMANDS, main

WIDTH = 80


def commands() -> Iterator[tuple[str, click.Command]]:
    """All commands by their whole names."""
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {below}", found) for below, found in command.commands.items())


ALL = dict(commands())
RUN = {name: command for name, command in ALL.items() if not isinstance(command, click.Group)}


SEVERAL = ("COMMAND [ARGS]...", "BANK...")
"""The ends of usage lines that end with dots."""


@pytest.mark.parametrize("name", ["", *ALL])
def test_a_help_text_fits_into_80_columns_and_nothing_is_cut(name: str) -> None:
    command = ALL.get(name, main)
    context = click.Context(command, info_name=f"polka {name}", max_content_width=WIDTH, terminal_width=WIDTH)
    said = command.get_help(context).splitlines()
    assert [line for line in said if len(line) > WIDTH or line.endswith("...")] == [
        f"Usage: polka {name} [OPTIONS] {several}" for several in SEVERAL if said[0].endswith(f" {several}")
    ]


@pytest.mark.parametrize("name", RUN)
def test_every_option_has_a_help_text_and_every_command_an_example(name: str) -> None:
    command = RUN[name]
    assert isinstance(command, Command)
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    assert [option.name for option in options if not option.help] == []
    assert command.help
    assert command.examples


@pytest.mark.parametrize(("name", "example"), [(name, example) for name in RUN for example in RUN[name].examples])  # type: ignore[attr-defined]
def test_every_example_is_a_command_that_polka_accepts(name: str, example: str) -> None:
    words = shlex.split(example, comments=True)
    assert words[: len(name.split()) + 1] == ["polka", *name.split()]
    RUN[name].make_context(name, words[len(name.split()) + 1 :])


def test_the_list_of_commands_says_the_same_as_their_help_texts() -> None:
    for name, place in COMMANDS.items():
        assert (ALL[name].help or "").partition("\n")[0] in (place.help, f"{place.help[:-1]}, as in a container.")


HEAVY = ("asyncpg", "httpx", "litestar", "msgspec", "rich", "sqlalchemy")
ASK = f"""
import contextlib, sys
from polka.command.main import main
with contextlib.suppress(SystemExit):
    main()
print([name for name in {HEAVY} if name in sys.modules])
"""


@pytest.mark.parametrize("word", ["--version", "--help"])
def test_what_needs_no_command_imports_none(word: str) -> None:
    done = subprocess.run([sys.executable, "-P", "-c", ASK, word], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_first_line_of_the_demo_waits_for_no_import() -> None:
    program = "import sys, polka.command.demo\nprint([name for name in " + str(HEAVY) + " if name in sys.modules])"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
