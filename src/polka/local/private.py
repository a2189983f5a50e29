"""Folders and files of Polka that no other user may read, replace, or create first."""

import contextlib
import os
import pwd
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from polka.service.failure import Failure

SOCKETS = "sockets"
PLAIN = re.compile(r"[\w./-]{1,80}", re.ASCII)
"""A path that fits with its sockets into the kernel's 107 bytes, and needs no quoting."""
OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def whole_path(text: str) -> Path:
    """The path of a folder from the root, whatever folder we are in, and with `~` for the user's home.

    Raises:
        Failure: the path leads to a file.
    """
    path = Path(os.path.realpath(os.path.expanduser(text)))
    if os.path.exists(path) and not os.path.isdir(path):
        raise Failure(f"{path} is a file, not a folder: --data and POLKA_DATA name the folder of a `polka up`.")
    return path


def own_folder(folder: Path, mode: int = 0o700) -> None:
    """Make the folder with this mode, or check that an existing folder is ours.

    Raises:
        Failure: the folder cannot be made, belongs to another user, or everybody can replace its contents.
    """
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"Cannot make the folder {folder}: {error.strerror or error}.") from None
    check_owned(folder)


@contextmanager
def made_folder(folder: Path, mode: int) -> Iterator[None]:
    """The same for a block. If the block fails, the folders that were made are removed, unless something is in them."""
    made = [step for step in (folder, *folder.parents) if not os.path.exists(step)]
    try:
        own_folder(folder, mode)
        yield
    except BaseException:
        for step in made:
            with contextlib.suppress(OSError):
                step.rmdir()
        raise


def check_owned(folder: Path) -> None:
    """Check that only we can write to the folder.

    Raises:
        Failure: the folder belongs to another user, or everybody can replace its contents.
    """
    if folder.stat().st_uid != os.geteuid():
        raise Failure(f"The folder {folder} belongs to another user.")
    for step in (folder, *folder.parents):
        found = step.stat().st_mode
        if found & stat.S_IWOTH and (step == folder or not found & stat.S_ISVTX):
            raise Failure(f"Every user may write to {step}: `chmod o-w {step}`, or choose another folder.")


def private_folder(folder: Path, user: str | None = None) -> Path:
    """Make a folder that only we may enter, or only `user`, the user of a child of root.

    Raises:
        Failure: the path exists, and belongs to another user or is open to others.
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
    """The folder for the sockets of the Polka with this data folder. A link may lead to another place."""
    beside = folder / SOCKETS
    return Path(os.readlink(beside)) if os.path.islink(beside) else beside


def make_socket_folder(folder: Path, user: str | None = None) -> Path:
    """A private folder for sockets: beside the data, or at a short path behind a link.

    The short path is random, so no other user can create it first.

    Raises:
        Failure: the path exists already.
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
    return Path(tempfile.mkdtemp(prefix="polka-", dir="/tmp"))  # a folder that nobody else may enter


def appended(path: Path) -> BinaryIO:
    """A file for appending that no other user may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "ab")


def sync(folder: Path) -> None:
    """Make the names in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, text: str) -> None:
    """Write a new file that no other user may read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(text)
