"""What users mistype: each mistake is one clear line, which says what to write. No command starts a process."""

import io
import signal
import sys

import pytest

from commands import mistake
from polka.command.main import main

PAY = ["pay", "a/A", "b/B"]
WHOLE = "must be a whole number, "


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([*PAY, "-5", "USD"], "-5 USD: an amount must be positive"),
        ([*PAY, "-5.50 USD", "--reference", "x"], "-5.50 USD: an amount must be positive"),
        ([*PAY, "--", "-5", "USD"], "-5 USD: an amount must be positive"),
        ([*PAY, "0", "USD"], "0 USD: an amount must be positive"),
        ([*PAY, "-,5", "USD"], "'-,5 USD' is not an amount such as 12.50 USD."),
        ([*PAY, "12,50 USD"], "Did you mean 12.50 USD?"),
        ([*PAY, "12.505", "USD"], "12.505 USD: USD has at most 2 decimal places."),
        ([*PAY, "12.50"], "'12.50' is not an amount such as 12.50 USD."),
        ([*PAY, "12.50", "XYZ"], "Polka has no currency 'XYZ'. `polka currencies` lists all currencies."),
        ([*PAY, "5", "USD", "--receiver-currency=yen"], "Polka has no currency 'yen'. `polka currencies`"),
        (["pay", "a", "b/B", "1", "USD"], "'a' is not an account such as bank1/ACC1."),
        (["pay", "a/A", "b/A-1", "1", "USD"], "'b/A-1' is not an account such as bank1/ACC1."),
        ([*PAY, "1", "USD", "--idempotency-key="], "An idempotency key must be 1 to 255 printable ASCII characters"),
        (
            [*PAY, "1", "USD", "--idempotency-key=März"],
            "An idempotency key must be 1 to 255 printable ASCII characters",
        ),
        (["banks", "open", "no/slash"], "'no/slash' is not the name of a bank, such as bank1."),
        (["banks", "open", "-5"], "'-5' is not the name of a bank, such as bank1."),
        (["banks", "cap", "a", "10.005", "USD"], "10.005 USD: USD has at most 2 decimal places."),
        (["banks", "cap", "a", "-1", "USD"], "-1 USD: an amount must be 0 or more"),
        (["banks", "cap", "a", "1000"], "'1000' is not an amount such as 12.50 USD."),
        (["banks", "uncap", "a", "usd"], "Polka has no currency 'usd'. Did you mean USD?"),
        (["spam", "--currencies=USD,eur"], "Polka has no currency 'eur'. Did you mean EUR?"),
        (["spam", "--cap=-5 USD"], "-5 USD: an amount must be 0 or more"),
    ],
)
def test_an_amount_or_a_name_that_cannot_be_is_shown_as_it_should_be(words: list[str], reason: str) -> None:
    """An empty key among them: a script with an empty variable would pay again with each attempt."""
    assert reason in mistake(*words)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["clearing", "show", "many"], f"{WHOLE}1 to 1,000,000,000."),
        (["clearing", "close", "-1"], f"{WHOLE}1 to 1,000,000,000."),
        (["clearing", "settle", "0"], f"{WHOLE}1 to 1,000,000,000."),
        (["up", "--port=many"], f"{WHOLE}1 to 65,535."),
        (["api", "--port=65536"], f"{WHOLE}1 to 65,535."),
        (["demo", "--apis=0"], f"{WHOLE}1 to 64."),
        (["seed", "--banks", "-1"], f"{WHOLE}1 to 1,000,000,000."),
        (["payments", f"--limit={10**30}"], f"{WHOLE}1 to 1,000,000,000."),
        (["spam", "--processes=1.5"], f"{WHOLE}1 to 64."),
        (["spam", "--banks=many"], f"{WHOLE}0 or more."),
        (["spam", "--rate=fast"], "must be a number, 0 to 1,000,000."),
        (["spam", "--rate=-1"], "must be 0 to 1,000,000."),
        (["keys", "create", "--name=x", "--expires-at=soon"], "must be a time with its zone, as 2027-01-31T12:00:00Z."),
        (["wait", "--timeout=5"], "'5' is no duration such as 30s, 5m or 1m30s."),
    ],
)
def test_a_value_out_of_its_range_is_answered_with_the_range(words: list[str], reason: str) -> None:
    assert reason in mistake(*words)


@pytest.mark.parametrize("words", [["status", "-5"], ["keys", "list", "-1"]])
def test_a_negative_number_elsewhere_is_an_argument_too_many(words: list[str]) -> None:
    assert mistake(*words) == f"Got unexpected extra argument ({words[-1]})"


@pytest.mark.parametrize(
    ("words", "similar"),
    [
        (["bank"], "banks"),
        (["sttaus"], "status"),
        (["banks", "opne"], "open"),
        (["clearing", "setle"], "settle"),
        (["keys", "crate"], "create"),
    ],
)
def test_a_mistyped_command_is_answered_with_a_similar_one(words: list[str], similar: str) -> None:
    assert mistake(*words) == f"No such command {words[-1]!r}. Did you mean {similar!r}?"


def test_a_command_that_is_like_no_other_is_answered_without_a_suggestion() -> None:
    assert mistake("xyzxyz") == "No such command 'xyzxyz'."


@pytest.mark.parametrize(("words", "similar"), [(["up", "--prt=1"], "--port"), (["pay", "--refrence"], "--reference")])
def test_a_mistyped_option_is_answered_with_a_similar_one(words: list[str], similar: str) -> None:
    assert mistake(*words).endswith(f"Did you mean {similar!r}?")


OTHER = "M\udce4rz"
"""As Python reads the bytes of März in Latin-1."""


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ([OTHER], 1),
        (["status", f"--{OTHER}"], 2),
        (["payments", "--bank", OTHER], 3),
        (["up", f"--data=/tmp/{OTHER}"], 2),
        ([*PAY, "1", "USD", f"--reference={OTHER}"], 6),
    ],
)
def test_words_that_are_not_utf_8_are_rejected_by_their_number(words: list[str], number: int) -> None:
    """Without the text, which may be a key."""
    assert mistake(*words) == f"Argument {number} of the command is not UTF-8 text."


@pytest.mark.parametrize("name", ["POLKA_KEY", "POLKA_URL", "POLKA_DATA"])
def test_a_variable_that_is_not_utf_8_is_rejected_by_its_name(name: str) -> None:
    assert mistake("status", **{name: OTHER}) == f"The variable {name} is not UTF-8 text."


@pytest.mark.parametrize("is_buffered", [True, False])
@pytest.mark.parametrize("words", [["--help"], ["--version"], ["banks", "--help"], ["currencies"]])
def test_output_that_cannot_be_written_is_one_clear_line(
    words: list[str], is_buffered: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with open("/dev/full", "wb", buffering=-1 if is_buffered else 0) as full:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(full, write_through=not is_buffered))
        with pytest.raises(SystemExit) as end:
            main.main(words, "polka")
    signal.signal(signal.SIGTERM, handler)
    assert end.value.code == 1
    assert capsys.readouterr().err == "Error: Cannot write the output: No space left on device.\n"
