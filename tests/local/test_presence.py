"""Commands find the Polka that runs here, and its key; and no other address or folder gets or gives a key."""

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from api.http.refusals import NO_KEY, problem
from commands import NO_BROWSER, Up, one_line, polka, up
from polka.local import presence
from polka.local.demo import free_port
from polka.local.presence import Presence
from polka.service.failure import Failure
from services import client
from strangers import STRANGER, as_stranger, needs_root
from waiting import WAIT_SECONDS

KEY = f"polka_{'a' * 40}"


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="polka-") as name:
        folder = Path(name) / "folder"
        folder.mkdir(mode=0o700)
        yield folder


PROBLEM = msgspec.json.encode(problem(NO_KEY, None))
UNAUTHORIZED = (
    b"HTTP/1.1 401 No\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
) % len(PROBLEM) + PROBLEM
"""As a Polka answers whose key it is not."""


@contextmanager
def listening() -> Iterator[tuple[str, list[bytes]]]:
    """A server of somebody else, and the beginnings of the requests that it got."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hear() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    heard.append(connection.recv(10_000))
                    connection.sendall(UNAUTHORIZED)

        thread = threading.Thread(target=hear)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", heard
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(WAIT_SECONDS)


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Up, Path]]:
    with tempfile.TemporaryDirectory(prefix="polka-presence-") as name:
        folder = Path(name)
        with up(folder, data="a folder") as running:
            yield running, folder / "a folder"


def test_a_command_finds_the_polka_and_its_key_by_the_folder(running: tuple[Up, Path]) -> None:
    up, folder = running
    done = polka("clearing", "show", "1", f"--data={folder}")
    assert (done.returncode, done.stdout.splitlines()[0].split(":")[0]) == (0, "Window 1 is open"), done.stderr
    done = polka("clearing", "show", "1", f"--url={up.url}/", f"--data={folder}")
    assert "--data and --url name two Polkas." in done.stderr
    for words in (["seed", "--banks=2"], ["spam", "--transactions=5"]):
        done = polka(*words, f"--data={folder}")
        assert done.returncode == 0, done.stderr
    assert "5 of 5 payments" in done.stderr


def test_a_key_that_is_given_wins(running: tuple[Up, Path]) -> None:
    _, folder = running
    for given in ({"POLKA_KEY": KEY}, {}):
        words = [] if given else [f"--key={KEY}"]
        said = one_line(polka("clearing", "show", "1", f"--data={folder}", *words, **given))
        assert said.endswith("wants another key: set POLKA_KEY or pass --key.")


def test_the_key_of_the_folder_works_after_a_revocation_and_a_new_start(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        first = running.key()
    with up(tmp_path) as running:
        assert running.key() == first
        done = polka("keys", "list", f"--data={tmp_path}")
        (id,) = [line.split()[0] for line in done.stdout.splitlines() if "operator" in line.split()]
        assert polka("keys", "revoke", id, f"--data={tmp_path}").returncode == 0
    with up(tmp_path) as running:
        assert running.key() != first
        assert client.get(f"{running.url}/banks", headers=running.key()).is_success
        running.process.send_signal(signal.SIGINT)
        running.process.wait(WAIT_SECONDS)
        assert presence.find(tmp_path) is None


def test_no_key_goes_to_the_address_of_a_polka_that_was_killed(folder: Path) -> None:
    with listening() as (url, heard):
        with presence.announced(folder, Presence(url, KEY)):
            left = (folder / presence.FILE).read_bytes()
            assert one_line(polka("clearing", "show", "1", f"--data={folder}")).startswith(f"{url} wants another key")
            assert KEY.encode() in heard.pop()
        (folder / presence.FILE).write_bytes(left)  # as SIGKILL leaves it
        (folder / presence.FILE).chmod(0o600)
        said = one_line(polka("clearing", "show", "1", f"--data={folder}"))
        assert said == (
            f"No Polka of yours runs in {folder}: start it with `polka up`, or say where it is with --data or --url."
        )
        assert heard == []


def test_no_key_of_a_folder_goes_to_another_address(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    home = folder / "polka"
    home.mkdir(mode=0o700)
    monkeypatch.setattr("polka.local.postgres.data_folder", lambda: home)
    from polka.command.on_polka import polka_of

    own = f"http://127.0.0.1:{free_port()}"
    with presence.announced(home, Presence(own, KEY)):
        assert polka_of(None, None).key == KEY
        assert polka_of(own, None).key == polka_of(f"{own}/", None).key == KEY
        port = own.rpartition(":")[2]
        for other in (
            f"http://localhost:{port}",
            f"https://127.0.0.1:{port}",
            f"{own}.evil",
            f"{own}@evil",
            "http://x",
        ):
            assert polka_of(other, None) == Presence(other)
        assert polka_of(None, "mine") == Presence(own, "mine", folder=str(home))
        assert polka_of("http://x", "mine") == Presence("http://x", "mine")
    assert polka_of(None, "mine") == Presence("http://127.0.0.1:8000", "mine")


def test_a_user_without_a_home_names_a_polka_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    from polka.command.on_polka import polka_of

    def no_home() -> Path:
        raise Failure("This user has no home folder.")

    monkeypatch.setattr("polka.local.postgres.data_folder", no_home)
    assert polka_of("http://x", None) == Presence("http://x")
    assert polka_of(None, KEY) == Presence("http://127.0.0.1:8000", KEY)
    with pytest.raises(Failure, match="no home"):
        polka_of(None, None)


def test_a_file_that_others_can_read_or_that_is_a_link_is_not_believed(folder: Path) -> None:
    with presence.announced(folder, Presence("http://127.0.0.1:1", KEY)):
        file = folder / presence.FILE
        file.chmod(0o640)
        with pytest.raises(Failure, match="is not a file of yours that only you can read"):
            presence.find(folder)
        file.chmod(0o600)
        file.rename(folder / "elsewhere")
        file.symlink_to(folder / "elsewhere")
        with pytest.raises(Failure, match="Cannot read"):
            presence.find(folder)


@needs_root
def test_a_folder_of_another_user_gets_no_key_of_ours(folder: Path) -> None:
    with listening() as (url, heard), presence.announced(folder, Presence(url, KEY)):
        os.chown(folder, STRANGER, -1)
        said = one_line(polka("clearing", "show", "1", f"--data={folder}", POLKA_KEY=KEY))
        assert said == f"The folder {folder} belongs to another user."
        os.chown(folder, 0, -1)
        os.chown(folder / presence.FILE, STRANGER, -1)
        said = one_line(polka("clearing", "show", "1", f"--data={folder}", POLKA_KEY=KEY))
        assert said.endswith("is not a file of yours that only you can read.")
        assert heard == []


@needs_root
def test_a_folder_that_is_closed_to_us_is_one_clear_line(folder: Path) -> None:
    def find() -> str:
        try:
            presence.find(folder / "below")
        except Failure as failure:
            return str(failure)
        return "found"

    assert as_stranger(find) == f"Cannot read {folder}/below/running: Permission denied."


@needs_root
def test_another_user_reads_no_key(running: tuple[Up, Path]) -> None:
    _, folder = running

    def attempts() -> list[str]:
        found = []
        for name in (presence.FILE, "operator-key", "console-key"):
            try:
                found.append((folder / name).read_text())
            except PermissionError:
                continue
        return found

    assert as_stranger(attempts) == []
    assert (folder / presence.FILE).exists()


def test_without_keys_none_is_sent(tmp_path: Path, empty_database_url: str) -> None:
    with up(tmp_path, POLKA_DATABASE_URL=empty_database_url, POLKA_NO_AUTH="true"):
        found = presence.find(tmp_path)
        assert found
        assert (found.key, found.console_key) == (None, None)
        assert polka("clearing", "show", "1", f"--data={tmp_path}").returncode == 0
        for words in ([], [f"--key={KEY}"]):
            done = polka("console", f"--data={tmp_path}", *words, **NO_BROWSER)
            assert done.returncode == 1
            assert done.stdout == f"There is no browser here. Open {found.url}/console in one.\n"


def test_a_database_of_ones_own_that_has_keys_gets_no_other(tmp_path: Path, database_url: str) -> None:
    done = polka("keys", "create", "--name=mine", POLKA_DATABASE_URL=database_url)
    assert done.returncode == 0, done.stderr
    with up(tmp_path, POLKA_DATABASE_URL=database_url) as running:
        assert not (tmp_path / "operator-key").exists()
        said = one_line(polka("clearing", "show", "1", f"--data={tmp_path}"))
        assert said == f"{running.url} wants a key: set POLKA_KEY or pass --key."
        said = polka("console", f"--data={tmp_path}", **NO_BROWSER).stdout
        assert said == f"There is no browser here. Open {running.url}/console in one, and enter an operator's key.\n"
    done = polka("keys", "list", POLKA_DATABASE_URL=database_url)
    assert [line for line in done.stdout.splitlines() if "operator" in line.split()] == []
