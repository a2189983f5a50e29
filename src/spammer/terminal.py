"""Output of a run: lines for people, on standard error."""

import sys


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def overwrite(line: str) -> None:
    """Show the line in place of the previous line. In a file or a pipe no line can be replaced."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def end_line() -> None:
    """Begin a new line after a line shown by `overwrite`."""
    if sys.stderr.isatty():
        print(file=sys.stderr, flush=True)
