"""Error messages of commands. On a terminal their lines break between words, elsewhere they stay whole."""

import io
import shutil
import sys
import textwrap

import click


def show(error: click.ClickException) -> None:
    said = io.StringIO()
    error.show(said)
    say(said.getvalue().removesuffix("\n"))


def say(text: str) -> None:
    """Show a text on standard error. A longer word, for example a URL, stays whole."""
    click.echo(broken(text, shutil.get_terminal_size().columns) if sys.stderr.isatty() else text, err=True)


def broken(text: str, width: int) -> str:
    return "\n".join(
        textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False) for line in text.split("\n")
    )
