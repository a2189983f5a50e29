"""Output to terminals that lack some characters, for example Latin-1 terminals."""

import codecs
import io
import sys

PLAIN = {"…": "...", "–": "-", "—": "-", "’": "'"}
"""Replacements for characters that the encoding of a terminal lacks. Any other character is a question mark."""


def replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in lacking), error.end


def write_in_any_encoding() -> None:
    """Let no character end a command, because the terminal may use Latin-1."""
    codecs.register_error("polka", replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="polka")
