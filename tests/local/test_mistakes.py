"""What users mistype: each mistake is one clear line, which says what to write. No command starts a process."""

import io
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import POLKA, environment, mistake
from polka.command.main import main
from polka.local import kept_keys, postgres, private
from polka.local.demo import free_port
from polka.local.up import locked
from polka.service.failure import Failure

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
        (["payments", "--bank=no/slash"], "'no/slash' is not the name of a bank, such as bank1."),
        (["payments", "--account=A-1"], "'A-1' is not an account such as ACC1."),
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
    environ: dict[str, Any] = {name: OTHER}
    assert mistake("status", **environ) == f"The variable {name} is not UTF-8 text."


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


@pytest.mark.parametrize("words", [["--help"], ["banks", "--help"], ["currencies"]])
def test_a_reader_that_has_ended_ends_a_command_quietly(words: list[str]) -> None:
    mine, its = os.pipe()
    os.close(mine)
    done = subprocess.run([*POLKA, *words], stdout=its, stderr=subprocess.PIPE, env=environment(), check=False)
    os.close(its)
    assert (done.returncode, done.stderr) == (1, b"")


URL_ADVICE = "--database-url or POLKA_DATABASE_URL must be as postgresql://polka@127.0.0.1:5432/polka."


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("foo", 'scheme is expected to be either "postgresql" or "postgres"'),
        ("mysql://x", 'scheme is expected to be either "postgresql" or "postgres"'),
        ("postgresql://x:a?b@y/z", "in a user, password or name, `: / ? # @ %` are written as %3A %2F %3F %23 %40 %25"),
    ],
)
@pytest.mark.parametrize("command", ["audit", "seed", "migrate", "wait"])
def test_a_url_that_is_none_is_answered_with_its_option_and_an_example(command: str, url: str, reason: str) -> None:
    said = mistake(command, f"--database-url={url}", code=1)
    assert said == f"The database URL is not valid: {reason}. {URL_ADVICE}"


def test_an_address_without_a_server_is_shown_as_people_write_it() -> None:
    port = free_port()
    said = mistake("audit", f"--database-url=postgresql://x@127.0.0.1:{port}/x", code=1)
    assert said == f"The database does not answer: no server listens on 127.0.0.1:{port}"


@pytest.mark.parametrize("address", ["foo", "http://polka..example", "http://xn--a"])
@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["audit", "--database-url=postgresql://x", "--cache-url"], "CACHE_URL"),
        (["status", "--url"], "URL"),
        (["spam", "--url"], "URL"),
    ],
)
def test_an_address_that_is_none_is_answered_with_its_option(words: list[str], name: str, address: str) -> None:
    assert mistake(*words, address) == (
        f"Invalid value for '{words[-1]}' (env var: 'POLKA_{name}'): "
        "must be an address as http://127.0.0.1:8000 or https://polka.example.com."
    )


def test_an_address_without_a_polka_is_shown_without_the_number_of_the_error() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    said = mistake("status", f"--url={url}", code=1)
    assert said == f"{url} does not answer: Connection refused. Is Polka running there?"


@pytest.mark.parametrize("command", [["up"], ["status"], ["audit"], ["keys", "list"], ["console"]])
def test_a_file_is_no_folder(command: list[str], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    reason = f"{file} is a file, not a folder: --data and POLKA_DATA name the folder of a `polka up`."
    assert mistake(*command, f"--data={file}", code=1) == reason
    assert mistake(*command, code=1, POLKA_DATA=str(file)) == reason


def test_a_port_in_use_is_named_with_its_option(tmp_path: Path) -> None:
    data, port = f"--data={tmp_path}/new", free_port() + 1
    with socket.create_server(("127.0.0.1", port)):
        in_use = f"Cannot listen on 127.0.0.1:{port}: Address already in use."
        assert mistake("up", data, f"--port={port}", code=1) == f"{in_use} Choose another port with --port."
        said = mistake("up", data, f"--port={port - 1}", code=1)
        assert said == f"{in_use} The ports of metrics follow the port of clients: choose another with --port."
        said = mistake("up", data, f"--port={free_port()}", f"--cache-port={port}", code=1)
        assert said == f"{in_use} Choose another port with --cache-port."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("option", "words"), [("--metrics-port", []), ("--web-port", ["--web"])])
def test_a_port_of_the_spammer_in_use_is_named_with_its_option(option: str, words: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = mistake("spam", *words, f"{option}={port}", code=1)
    assert said == f"Cannot listen on 127.0.0.1:{port}: Address already in use. Choose another port with {option}."


def test_a_folder_in_use_is_named_with_the_option(tmp_path: Path) -> None:
    with locked(tmp_path):
        said = mistake("up", f"--data={tmp_path}", f"--port={free_port()}", code=1)
        assert said == f"Another Polka uses {tmp_path}: stop it, or choose another folder with --data."
        assert (tmp_path / postgres.LOCK).exists()


def fail_to_start(folder: Path) -> None:
    """Over a database that does not answer."""
    database = f"--database-url=postgresql://x@127.0.0.1:{free_port()}/x"
    said = mistake("up", f"--data={folder}", f"--port={free_port()}", database, code=1)
    assert said.startswith("The database does not answer: ")


def test_a_start_that_fails_at_once_leaves_nothing_behind(tmp_path: Path) -> None:
    fail_to_start(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
    fail_to_start(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_start_that_fails_at_once_leaves_all_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("of a program of the user")
    fail_to_start(tmp_path)
    assert (tmp_path / "lock").read_text() == "of a program of the user"
    (tmp_path / "lock").rename(tmp_path / "a text")
    fail_to_start(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a text"]


@pytest.mark.parametrize("kept", ["postgres/PG_VERSION", "postgres.log", kept_keys.OPERATOR])
def test_a_start_that_fails_later_leaves_the_database_its_log_and_the_key(kept: str, tmp_path: Path) -> None:
    folder = tmp_path / "new"

    def start() -> None:
        with locked(folder):
            (folder / kept).parent.mkdir(exist_ok=True)
            (folder / kept).touch()
            raise Failure("later")

    with pytest.raises(Failure, match="later"):
        start()
    assert {path.name for path in folder.iterdir()} == {kept.partition("/")[0], postgres.LOCK}


def test_sockets_of_a_failed_start_elsewhere_are_removed_too(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    made: list[Path] = []

    def start() -> None:
        with locked(folder):
            made.append(private.make_socket_folder(folder))
            assert os.path.islink(folder / private.SOCKETS)
            raise Failure("early")

    with pytest.raises(Failure, match="early"):
        start()
    assert [path.exists() for path in (*made, folder)] == [False, False]
