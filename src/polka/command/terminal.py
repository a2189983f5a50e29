"""What commands say: lines, and tables of text and numbers."""

import re
from collections.abc import Iterable

from rich.console import Console

console = Console(highlight=False)
NUMBER = re.compile(r"-?[\d,]+(\.\d+ %)?")


def say(text: str) -> None:
    console.print(text, soft_wrap=True)


def show_table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Numbers to the right, all else to the left."""
    table = [tuple(names), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    to_right = [all(NUMBER.fullmatch(cell) for cell in column[1:]) for column in zip(*table, strict=True)]
    for row in table:
        cells = zip(row, widths, to_right, strict=True)
        say("  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells).rstrip())


def amounts(*numbers: int) -> list[str]:
    return [f"{number:,}" for number in numbers]
