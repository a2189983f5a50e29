"""Output of commands: lines, and tables of text and numbers, for a terminal of any width."""

import re
import textwrap
from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.text import Text


class Output(Console):
    """Rich's console. A closed pipe is an error of the system, as it is for all other output."""

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704  # the error that rich is handling


console = Output(highlight=False)
NUMBER = re.compile(r"[-+]?[\d,]+(\.\d+)?( %)?")
GAP = "  "


def say(text: str) -> None:
    """Show a text with rich's markup. On a terminal its lines break between words, elsewhere they stay whole."""
    for line in Text.from_markup(text, emoji=False).split("\n"):
        for part in broken(line, console.width) if console.is_terminal else [line]:
            part.rstrip()
            console.print(part, soft_wrap=True)


def broken(line: Text, width: int) -> Iterable[Text]:
    """The line in parts of this width at most. A longer word, for example a URL, stays whole for copying."""
    places, start = [], 0
    for word in re.finditer(r"\S+", line.plain):
        if word.end() - start > width and line.plain[start : word.start()].strip():
            start = word.start()
            places.append(start)
    return line.divide(places)


def show_table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Show rows of a table: numbers to the right, all else to the left.

    On a terminal that is too narrow, each row has a heading and its numbers below. The first line has the names of the
    headings.
    """
    titles = tuple(names)
    table = [tuple(map(printable, row)) for row in rows]
    columns = list(zip(titles, *table, strict=True))
    widths = [max(map(len, column)) for column in columns]
    are_numbers = [bool(table) and all(not cell or NUMBER.fullmatch(cell) for cell in column[1:]) for column in columns]
    if console.is_terminal and sum(widths) + len(GAP) * (len(widths) - 1) > console.width:
        show_records(titles, table, are_numbers)
        return
    for row in (titles, *table):
        cells = zip(row, widths, are_numbers, strict=True)
        say(
            escape(GAP.join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells).rstrip())
        )


def show_records(titles: Sequence[str], table: Iterable[Sequence[str]], are_numbers: Sequence[bool]) -> None:
    """Show each row as lines: its first texts as a heading, then the other cells with their titles."""
    headings = (are_numbers.index(True) if True in are_numbers else 1) or 1
    say(escape(GAP.join(titles[:headings])))
    for row in table:
        show_record(row[:headings], [f"{title} {cell}" for title, cell in zip(titles, row, strict=True)][headings:])


def show_record(heading: Iterable[str], facts: Iterable[str]) -> None:
    """Show a heading and indented lines with facts. A line breaks between facts where there is room for that."""
    say(escape(printable(GAP.join(heading))))
    text = GAP.join(printable(fact).replace(" ", "\u00a0") for fact in facts)
    for line in textwrap.wrap(text, console.width, initial_indent=GAP, subsequent_indent=GAP):
        say(escape(line.replace("\u00a0", " ")))


def printable(text: str) -> str:
    """The text without characters that move the cursor or change the direction of writing."""
    return "".join(character if character.isprintable() else "?" for character in text)


def time_of(at: datetime | None) -> str:
    """A time in UTC. The heading of the table, or the text behind, says UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else ""


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def counts(*numbers: int) -> list[str]:
    return [f"{number:,}" for number in numbers]
