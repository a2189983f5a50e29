"""Another user of this machine, as whom a test tries what must not work."""

import os
import pickle
import traceback
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

STRANGER = 64_321
"""Nobody has this id."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may try things as another user")

T = TypeVar("T")


def as_stranger(attempt: Callable[[], T], user: int = STRANGER) -> T:
    """What the attempt gives in a copy of this process that belongs to another user."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads, which are not in the copy, do not matter
        pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            found: Any = (True, attempt())
        except BaseException:  # whatever it is: the test must see it
            found = (False, traceback.format_exc())
        with os.fdopen(writing, "wb") as output:
            pickle.dump(found, output)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        is_well, value = pickle.load(answer)
    os.waitpid(pid, 0)
    assert is_well, value
    given: T = value
    return given
