"""What a run says: lines for people, on standard error."""

import sys


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def overwrite(line: str) -> None:
    """Show the line in place of the one before."""
    print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
