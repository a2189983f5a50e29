"""The text that comes in and goes out: words that are not UTF-8, terminals that lack some characters, a full disk."""

import codecs
import io
import os
import sys
from collections.abc import Iterable

import click

PLAIN = {"…": "...", "–": "-", "—": "-", "’": "'"}
"""Replacements for characters that the encoding of a terminal lacks. Any other character is a question mark."""


def replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in lacking), error.end


def check_encoding(words: Iterable[str]) -> None:
    """Check the words of a command line, and the variables of Polka.

    Python reads other bytes than UTF-8 as characters that no text can have. The message does not quote the text,
    because it may be a key.

    Raises:
        click.UsageError: a text is not UTF-8.
    """
    given = {f"Argument {number} of the command": word for number, word in enumerate(words, 1)}
    given |= {f"The variable {name}": value for name, value in os.environ.items() if name.startswith("POLKA_")}
    for name, text in given.items():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"{name} is not UTF-8 text.") from None


def write_in_any_encoding() -> None:
    """Let no character end a command, because the terminal may use Latin-1."""
    codecs.register_error("polka", replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="polka")


def drop_output() -> None:
    """Forget output that cannot be written. Otherwise Python tries again at its end, and reports its own error."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
