"""`polka banks`: opens banks, sets caps and lifts them, as people write them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import Up, one_line, polka, up
from services import client, wait_for


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Up, str]]:
    """A Polka without banks, and the option that names its folder."""
    with tempfile.TemporaryDirectory(prefix="polka-banks-") as name, up(Path(name), data="data") as running:
        yield running, f"--data={name}/data"


def caps(up: Up, bank: str) -> dict[str, int]:
    found: dict[str, int] = client.get(f"{up.url}/banks/{bank}", headers=up.key()).json()["caps"]
    return found


def test_without_banks_the_list_says_how_to_open_one(running: tuple[Up, str]) -> None:
    assert "`polka banks open bank1` opens a bank" in polka("banks", running[1]).stdout


def test_banks_are_opened_once_and_then_stay(running: tuple[Up, str]) -> None:
    _, data = running
    done = polka("banks", "open", "north", "south", data)
    assert (done.returncode, done.stdout) == (0, "north is open.\nsouth is open.\n"), done.stderr
    assert polka("pay", "north/A", "south/B", "10 USD", data).returncode == 0
    done = polka("banks", "open", "south", "old town", data)
    assert (done.returncode, done.stdout) == (0, "south was open before.\nold town is open.\n"), done.stderr
    wait_for("the payment is posted", lambda: " -10.00     0.00\n" in polka("banks", data).stdout)
    done = polka("banks", data)
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == ["bank", "north", "old town", "south"]
    assert polka("banks", "list", data).stdout == done.stdout


def test_a_cap_holds_until_it_is_lifted(running: tuple[Up, str]) -> None:
    up, data = running
    polka("banks", "open", "capped", "other", data)
    pay = ["pay", "capped/A", "other/B", "1,000.01", "USD", data]
    done = polka("banks", "cap", "capped", "1,000.00", "USD", data)
    assert (done.returncode, done.stdout) == (0, "capped may owe 1,000.00 USD at most.\n"), done.stderr
    assert polka("banks", "cap", "capped", "5,000 JPY", data).returncode == 0
    assert caps(up, "capped") == {"JPY": 5000, "USD": 100_000}
    assert one_line(polka(*pay)) == "capped may owe 1,000.00 USD at most: its balance is 0.00, and 0.00 is pending."
    done = polka("banks", "uncap", "capped", "USD", data)
    assert (done.returncode, done.stdout) == (0, "capped may owe any amount in USD.\n"), done.stderr
    assert caps(up, "capped") == {"JPY": 5000}
    assert polka(*pay).returncode == 0


def test_with_a_cap_of_zero_a_bank_may_owe_nothing(running: tuple[Up, str]) -> None:
    up, data = running
    polka("banks", "open", "poor", "rich", data)
    assert polka("banks", "cap", "poor", "0", "EUR", data).stdout == "poor may owe 0.00 EUR at most.\n"
    assert caps(up, "poor") == {"EUR": 0}
    assert "poor may owe 0.00 EUR at most" in one_line(polka("pay", "poor/A", "rich/B", "0.01 EUR", data))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["open", "polka"], "name: polka is Polka's own name."),
        (["cap", "nobody", "1", "USD"], "There is no bank nobody. `polka banks` lists the banks"),
        (["uncap", "nobody", "USD"], "There is no bank nobody. `polka banks` lists the banks"),
    ],
)
def test_a_change_that_cannot_be_is_one_clear_line(words: list[str], reason: str, running: tuple[Up, str]) -> None:
    assert reason in one_line(polka("banks", *words, running[1]))


def test_an_option_ahead_of_a_command_is_not_lost() -> None:
    """`polka banks --url … open` would open the bank at another Polka."""
    done = polka("banks", "--url=http://127.0.0.1:9", "--key=polka_" + "a" * 40, "open", "bank4")
    assert "Got unexpected extra arguments (open bank4)" in one_line(done)


def test_a_key_that_may_not_change_terms_changes_none(running: tuple[Up, str]) -> None:
    up, data = running
    polka("banks", "open", "own", data)
    key = polka("keys", "create", "--name=own", "--bank=own", data).stdout.strip()
    assert "banks:write" in one_line(polka("banks", "cap", "own", "1 USD", data, f"--key={key}"))
    assert "banks:write" in one_line(polka("banks", "open", "second", data, f"--key={key}"))
    assert caps(up, "own") == {}


def test_the_variable_of_the_folder_replaces_the_usual_folder(running: tuple[Up, str]) -> None:
    folder = running[1].removeprefix("--data=")
    assert polka("status", POLKA_DATA=folder).returncode == 0
    assert polka("keys", "list", POLKA_DATA=folder).returncode == 0
    assert f"No Polka of yours runs in {folder}/other:" in one_line(polka("status", POLKA_DATA=f"{folder}/other"))
