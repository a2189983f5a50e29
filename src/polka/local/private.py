"""Folders and files of Polka that nobody else on this machine may read, replace, or put there first."""

import os
import pwd
import re
import shutil
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

from polka.service.failure import Failure

SOCKETS = "sockets"
PLAIN = re.compile(r"[\w./-]{1,80}", re.ASCII)
"""A folder whose sockets everybody can name: their paths fit into the kernel's 107 bytes, and need no quoting."""
OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def own_folder(folder: Path, mode: int = 0o700) -> None:
    """Make the folder with this mode, or check that one that is there is ours.

    Raises:
        Failure: it cannot be made, belongs to somebody else, or everybody can replace what is in it.
    """
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"Cannot make the folder {folder}: {error.strerror or error}.") from None
    check_owned(folder)


def check_owned(folder: Path) -> None:
    """See that the folder is ours alone to write to.

    Raises:
        Failure: it belongs to somebody else, or everybody can replace what is in it.
    """
    if folder.stat().st_uid != os.geteuid():
        raise Failure(f"The folder {folder} belongs to another user.")
    for step in (folder, *folder.parents):
        found = step.stat().st_mode
        if found & stat.S_IWOTH and (step == folder or not found & stat.S_ISVTX):
            raise Failure(f"Every user may write to {step}: `chmod o-w {step}`, or choose another folder.")


def private_folder(folder: Path, user: str | None = None) -> Path:
    """Make a folder that only we may enter, or only `user`, as whom a child of root runs.

    Raises:
        Failure: something else is there, of somebody else or open to others.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    owner = pwd.getpwnam(user).pw_uid if user else os.geteuid()
    if folder.lstat().st_uid == os.geteuid() != owner:
        os.chown(folder, owner, -1, follow_symlinks=False)
    if not is_private(folder, owner):
        raise Failure(f"{folder} is not a folder that only {user or 'its owner'} may enter: remove it.")
    return folder


def is_private(folder: Path, owner: int) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & OPEN_TO_OTHERS


def socket_folder(folder: Path) -> Path:
    """Where the sockets of a Polka are that keeps its data in the folder: there, or where a link leads."""
    beside = folder / SOCKETS
    return Path(os.readlink(beside)) if os.path.islink(beside) else beside


def make_socket_folder(folder: Path, user: str | None = None) -> Path:
    """A private folder for sockets: beside the data, or in a short path that a link there leads to.

    Nobody can guess the short path, and so nobody can be there first.

    Raises:
        Failure: something else is there.
    """
    beside = folder / SOCKETS
    owner = pwd.getpwnam(user).pw_uid if user else os.geteuid()
    if PLAIN.fullmatch(str(beside)):
        if beside.is_symlink():
            beside.unlink()
        return private_folder(beside, user)
    if beside.is_symlink():
        if is_private(elsewhere := socket_folder(folder), owner):
            return elsewhere
        beside.unlink()
    elif beside.exists():
        shutil.rmtree(beside)
    elsewhere = private_folder(short_folder(), user)
    beside.symlink_to(elsewhere)
    return elsewhere


def short_folder() -> Path:
    """A new private folder with a short, plain path."""
    made = Path(tempfile.mkdtemp(prefix="polka-"))
    if PLAIN.fullmatch(str(made)):
        return made
    made.rmdir()
    return Path(tempfile.mkdtemp(prefix="polka-", dir="/tmp"))  # a folder there that nobody else may enter


def appended(path: Path) -> BinaryIO:
    """A file to add to, which nobody else may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "ab")


def write(path: Path, text: str) -> None:
    """Have a new file with this text, which nobody else may read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(text)
