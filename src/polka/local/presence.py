"""Other commands of the same user find a running `polka up` by a file in its folder, with its address and its keys.

`polka up` locks the file and holds its ports while it runs. Only then does the address belong to this Polka, and no
other user of the machine can receive the keys there.
"""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from polka.local import private
from polka.service.failure import Failure

FILE = "running"
BYTES_MAX = 10_000


class Presence(msgspec.Struct, frozen=True):
    """The address of our Polka, its operator's key, and the key for its console.

    There are no keys if Polka requires none, or if its database has keys that are not in Polka's folder. `folder` is
    the folder of the file.
    """

    url: str
    key: str | None = None
    console_key: str | None = None
    folder: str | None = None


@contextmanager
def announced(folder: Path, presence: Presence) -> Iterator[None]:
    """Let other commands of this user find the Polka while the block runs."""
    new = folder / f"{FILE}.new"
    private.write(new, msgspec.json.encode(presence).decode())
    with new.open("rb") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        new.rename(folder / FILE)
        try:
            yield
        finally:
            (folder / FILE).unlink(missing_ok=True)


def find(folder: Path) -> Presence | None:
    """The Polka running over the folder; None if there is none.

    Raises:
        Failure: the folder or the file belongs to another user, or others can write there.
    """
    try:
        if not folder.exists():
            return None
        private.check_owned(folder)
        descriptor = os.open(folder / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failure(f"Cannot read {folder / FILE}: {error.strerror}.") from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & private.OPEN_TO_OTHERS:
            raise Failure(f"{folder / FILE} is not a file of yours that only you can read.")
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None  # this `polka up` was killed
        return msgspec.structs.replace(msgspec.json.decode(file.read(BYTES_MAX), type=Presence), folder=str(folder))
