"""What commands show on terminals of any width and encoding, and where the output goes elsewhere."""

import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.console import Console

from commands import POLKA, environment, polka
from nursery import nursery_of
from polka.command import demo, terminal
from polka.command.show import from_home
from polka.command.terminal import say, show_table

NAMES = ("bank", "currency", "debits", "credits", "net")
ROWS = [("alpine", "USD", "150.00", "130.00", "-20.00"), ("b" * 64, "JPY", "1,250", "1,250", "0")]


def shown(monkeypatch: pytest.MonkeyPatch, width: int, is_terminal: bool = True, rows: object = ROWS) -> list[str]:
    output = io.StringIO()
    monkeypatch.setattr(
        terminal, "console", Console(file=output, width=width, force_terminal=is_terminal, highlight=False)
    )
    show_table(NAMES, rows)  # type: ignore[arg-type]
    return output.getvalue().splitlines()


def test_a_table_that_fits_has_numbers_to_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, 80, rows=ROWS[:1]) == [
        "bank    currency  debits  credits     net",
        "alpine  USD       150.00   130.00  -20.00",
    ]


@pytest.mark.parametrize("width", [40, 80])
def test_on_a_narrow_terminal_each_row_has_its_numbers_below(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, width)
    assert lines[:2] == ["bank  currency", "alpine  USD"]
    assert " ".join(lines[1:]).split() == (
        f"alpine USD debits 150.00 credits 130.00 net -20.00 {'b' * 64} JPY debits 1,250 credits 1,250 net 0".split()
    )
    assert [line for line in lines if len(line) > width and "b" * 64 not in line] == []


def test_elsewhere_a_table_is_as_wide_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, 80, is_terminal=False)
    assert [line.split()[0] for line in lines] == ["bank", "alpine", "b" * 64]


def test_a_text_neither_moves_the_cursor_nor_has_a_style(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, 80, rows=[("[red]x[/]\x1b[2J\u202e", "USD", "1", "1", "1")])
    assert lines[1].split() == ["[red]x[/]?[2J?", "USD", "1", "1", "1"]


def test_a_reader_that_has_ended_is_an_error_and_does_not_end_the_process() -> None:
    class Ended(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        terminal.Output(file=Ended()).print("x")


@pytest.mark.parametrize(
    ("is_terminal", "lines"),
    [
        (True, ["The console:", "http://127.0.0.1:8000/console", "of [this] :cat:", "", "  - opens at", "once"]),
        (False, ["The console: http://127.0.0.1:8000/console of [this] :cat:", "", "  - opens at once"]),
    ],
)
def test_lines_break_between_words_on_a_terminal_alone(
    is_terminal: bool, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=output, width=16, force_terminal=is_terminal))
    say(r"[red]The console:[/] http://127.0.0.1:8000/console of \[this] :cat:" + "\n\n  - opens at once")
    said = re.sub(r"\x1b\[\d*m", "", output.getvalue())
    assert said.splitlines() == lines


def test_a_terminal_with_latin_1_gets_other_characters() -> None:
    env = environment(PYTHONIOENCODING="latin-1")
    done = subprocess.run([*POLKA, "up", "--help"], env=env, capture_output=True, check=False)
    assert (done.returncode, b"postgresql://..." in done.stdout) == (0, True), done.stderr


def said_on_a_terminal(width: int, *words: str) -> list[str]:
    """What the command shows on a terminal of this width."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environ = environment()
    environ.pop("COLUMNS", None)  # the terminal itself says how wide it is
    process = nursery_of(words[0]).fork(words, environ, Path(os.ttyname(its)))
    said = b""
    with os.fdopen(its), os.fdopen(mine, "rb", buffering=0) as shown:
        while process.poll() is None or select.select([shown], [], [], 0)[0]:
            if select.select([shown], [], [], 0.01)[0]:
                said += shown.read(10_000)
    return said.decode().splitlines()


@pytest.mark.parametrize("words", [["status", "--data=/no folder/of mine"], ["banks", "cap", "bank1", "12.505", "USD"]])
def test_an_error_breaks_between_words(words: list[str]) -> None:
    whole = polka(*words).stderr
    for width in (40, 80):
        lines = said_on_a_terminal(width, *words)
        assert max(map(len, lines)) <= width
        assert " ".join(lines).split() == whole.split()


def test_a_path_in_the_users_home_is_shown_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    assert from_home("/home/anna/.local/share/polka/sockets") == "~/.local/share/polka/sockets"
    assert from_home("/home/annabel/polka/sockets") == "/home/annabel/polka/sockets"
    assert from_home("http://127.0.0.1:8000") == "http://127.0.0.1:8000"


@pytest.mark.parametrize("program", [".venv/bin/polka", "/opt/polka/bin/polka"])
def test_the_demo_names_its_command_by_the_shorter_path(
    program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / program)])
    assert demo.program() == program
