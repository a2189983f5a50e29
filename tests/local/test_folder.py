"""The folder of `polka up`: any name, from anywhere, and closed to every other user of the machine."""

import asyncio
import contextlib
import os
import pwd
import re
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from commands import Up, environment, one_line, polka, up
from polka.command.options import folder_of
from polka.local import control, postgres, private
from polka.local.demo import free_port
from polka.service.failure import Failure
from services import client
from strangers import STRANGER, as_stranger, needs_root

NAME = "a folder+%20&#, with a very long name " + "x" * 60
SECRET = re.compile(r"polka_[0-9a-f]{40}")


def test_a_path_at_the_option_is_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    given = {
        "data": tmp_path / "data",
        "~/x": Path("/home/somebody/x"),
        "../y": tmp_path.parent / "y",
        "/z": Path("/z"),
    }
    assert {text: folder_of(text) for text in given} == given


@pytest.mark.parametrize("chosen", ["", "relative/path", None])
def test_a_data_home_that_is_no_whole_path_does_not_count(chosen: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    if chosen is not None:
        monkeypatch.setenv("XDG_DATA_HOME", chosen)
    assert postgres.data_folder() == Path("/home/somebody/.local/share/polka")


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Up, Path]]:
    """A Polka that was told its folder by a relative path, with everything in its name that URLs and settings quote."""
    with tempfile.TemporaryDirectory(prefix="polka-folder-") as name:
        parent = Path(name)
        parent.chmod(0o755)
        folder = parent / NAME
        with up(parent, data=NAME, is_executed=True) as running:
            yield running, folder


def test_commands_reach_it_by_its_folder_from_anywhere(running: tuple[Up, Path]) -> None:
    up, folder = running
    done = polka("seed", "--banks=3", "--accounts=6", f"--data={folder}")
    assert done.returncode == 0, done.stderr
    assert "polka-folder" in up.said()
    done = polka("audit", f"--data={folder}", POLKA_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert done.returncode == 0, done.stderr
    assert "3 banks, 6 accounts" in done.stdout
    assert client.get(f"{up.url}/banks/bank3", headers=up.key()).is_success


def test_a_key_is_shown_on_a_terminal_alone(running: tuple[Up, Path]) -> None:
    up, folder = running
    assert not SECRET.search(up.said())
    assert f"An operator's key is in {folder}/operator-key, which you alone can read." in up.said()
    assert SECRET.fullmatch((folder / "operator-key").read_text())


def test_its_files_are_its_users_alone(running: tuple[Up, Path]) -> None:
    _, folder = running
    open_to_all = {folder / "pg_hba.conf", folder / "pg_ident.conf"}
    found = {path: path.lstat() for path in folder.rglob("*") if not path.is_symlink()}
    assert {folder / name for name in ("postgres.log", "lock", "operator-key", "postgres")} <= found.keys()
    shown = [path for path, seen in found.items() if stat.S_IMODE(seen.st_mode) & 0o077 and path not in open_to_all]
    assert shown == []
    assert not any(SECRET.search(path.read_text()) for path in open_to_all)


def test_orders_are_taken_by_whoever_has_the_token_in_a_folder_of_the_users_own(running: tuple[Up, Path]) -> None:
    api = psutil.Process(running[0].pid("api-1")).environ()
    path, token = Path(api["POLKA_CONTROL_SOCKET"]), api["POLKA_CONTROL_TOKEN"]
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert asyncio.run(control.ask(str(path), token)).drills.targets
    with pytest.raises(ValueError, match="truncated"):
        asyncio.run(control.ask(str(path), token[:-1]))


@needs_root
def test_another_user_reads_nothing_and_reaches_no_socket(running: tuple[Up, Path]) -> None:
    up, folder = running
    sockets = [path for path in private.socket_folder(folder).iterdir() if path.is_socket()]
    family = psutil.Process(up.process.pid).children(recursive=True)
    control = {one.environ().get("POLKA_CONTROL_SOCKET") for one in family} - {None}
    assert sockets
    assert control
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("pg_hba.conf", "pg_ident.conf")]
    environs = [Path(f"/proc/{one.pid}/environ") for one in family]

    def attempts() -> list[str]:
        done = []
        for path in (*files, *environs):
            with contextlib.suppress(PermissionError):
                path.read_bytes()
                done.append(str(path))
        for path in (*sockets, *control):
            with contextlib.suppress(PermissionError), socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                done.append(str(path))
        return done

    assert as_stranger(attempts) == []
    told = " ".join(word for one in family for word in one.cmdline())
    assert not SECRET.search(told)


@needs_root
def test_the_user_that_postgres_runs_as_is_nobody_in_it_and_knows_nothing_of_root(running: tuple[Up, Path]) -> None:
    up, folder = running
    server = psutil.Process(up.pid("postgres"))
    assert server.username() in ("postgres", "nobody")
    assert not [name for name in server.environ() if name.startswith("POLKA_") or "PASS" in name or "SECRET" in name]
    path = str(private.socket_folder(folder) / postgres.SOCKET)

    def connect() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            wanted = b"user\0postgres\0\0"
            connection.sendall(struct.pack("!II", 8 + len(wanted), 3 << 16) + wanted)
            return connection.recv(2000)

    said = as_stranger(connect, pwd.getpwnam(server.username()).pw_uid)
    assert b"Peer authentication failed" in said, said


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of our own, whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="polka-") as name:
        folder = Path(name) / "folder"
        folder.mkdir(mode=0o700)
        yield folder


def linked(folder: Path) -> None:
    (folder / "sockets").symlink_to(folder.parent)


def opened(folder: Path) -> None:
    (folder / "sockets").mkdir()
    (folder / "sockets").chmod(0o755)


def of_another_user(folder: Path) -> None:
    (folder / "sockets").mkdir(mode=0o700)
    os.chown(folder / "sockets", STRANGER, -1)


def file(folder: Path) -> None:
    (folder / "sockets").write_text("")


@pytest.mark.parametrize("prepare", [opened, file, pytest.param(of_another_user, marks=needs_root)])
def test_a_folder_of_sockets_that_is_not_private_is_refused(prepare: Callable[[Path], None], folder: Path) -> None:
    prepare(folder)
    with pytest.raises((Failure, FileExistsError)):
        private.make_socket_folder(folder)


def test_a_link_beside_the_data_is_not_followed_where_sockets_fit(folder: Path) -> None:
    linked(folder)
    assert private.make_socket_folder(folder) == folder / "sockets"
    assert private.is_private(folder / "sockets", os.geteuid())


def test_a_short_folder_of_sockets_that_was_replaced_is_not_used_again(tmp_path: Path) -> None:
    folder = tmp_path / NAME
    folder.mkdir()
    first = private.make_socket_folder(folder)
    assert first == private.make_socket_folder(folder) == private.socket_folder(folder)
    first.chmod(0o777)
    second = private.make_socket_folder(folder)
    assert second not in (first, folder / "sockets")
    assert private.is_private(second, os.geteuid())
    for made in (first, second):
        made.rmdir()


def test_a_folder_that_everybody_may_write_to_is_refused(folder: Path) -> None:
    private.own_folder(folder)
    folder.chmod(0o1777)
    with pytest.raises(Failure, match=rf"^Every user may write to {folder}: "):
        private.own_folder(folder)
    folder.chmod(0o700)
    folder.parent.chmod(0o777)
    with pytest.raises(Failure, match=rf"^Every user may write to {folder.parent}: "):
        private.own_folder(folder)
    folder.parent.chmod(0o1777)
    private.own_folder(folder)


@needs_root
def test_a_folder_that_another_user_has_made_first_is_refused() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o1777)
        folder = Path(name) / "polka"
        as_stranger(folder.mkdir)
        with pytest.raises(Failure, match=rf"^The folder {folder} belongs to another user"):
            private.own_folder(folder)


@needs_root
def test_a_folder_that_postgres_user_may_not_enter_is_one_clear_line(folder: Path) -> None:
    folder.parent.chmod(0o700)
    said = one_line(polka("up", f"--data={folder}", f"--port={free_port()}"))
    assert re.fullmatch(r"Postgres runs as the user \w+, who may not enter \S+: choose another folder .*", said), said
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("words", [["seed"], ["audit"], ["keys", "list"], ["wait", "--timeout=0s"], ["migrate"]])
def test_where_no_polka_runs_a_command_says_where_it_looked(words: list[str], tmp_path: Path) -> None:
    assert one_line(polka(*words, f"--data={tmp_path}")) == (
        f"No Polka of yours runs in {tmp_path}: start it with `polka up`, or say where it is with --data or "
        "--database-url."
    )


def test_waiting_for_a_polka_names_no_number_of_an_error(tmp_path: Path) -> None:
    done = polka("wait", "--timeout=600ms", f"--data={tmp_path}")
    assert done.stdout == "Waiting: The database does not answer: no server is there\n"
    assert "Errno" not in done.stderr


def test_two_databases_at_once_are_one_clear_line(tmp_path: Path) -> None:
    said = one_line(polka("seed", f"--data={tmp_path}", "--database-url=postgresql://x"))
    assert said == "--data and --database-url name two databases."


@needs_root
def test_an_ordinary_user_starts_it_in_a_folder_of_its_own() -> None:
    with tempfile.TemporaryDirectory(prefix="polka-ordinary-") as name:
        home = Path(name)
        os.chown(home, pwd.getpwnam("nobody").pw_uid, -1)
        become = ["setpriv", "--reuid=nobody", "--regid=65534", "--clear-groups", *READING]
        if subprocess.run([*become, sys.executable, "-c", ""], check=False, capture_output=True).returncode:
            pytest.skip("an ordinary user cannot run this Python")
        program = [*become, sys.executable, "-P", "-c", SERVER, "data"]
        env = environment(HOME=name, XDG_DATA_HOME="")
        done = subprocess.run(program, cwd=name, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "1\n"


READING = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
"""Where Python is in root's home, the user may read it all the same, and write nothing more."""
SERVER = """
import asyncio, sys
from polka.local import postgres
from polka.store import database
from polka.command.options import folder_of
from polka.local.demo import free_port
from polka.local.up import locked

async def main(folder):
    with locked(folder):
        server = postgres.Server(postgres.locate(), folder)
        server.initialise()
        await server.start()
        async with database.session(postgres.own_url(folder)) as connection:
            print(await connection.fetchval("SELECT 1"))
        await server.stop()

asyncio.run(main(folder_of(sys.argv[1])))
"""
