"""Another user of this machine, for attempts that must fail."""

import os
import pickle
import traceback
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

STRANGER = 64_321
"""An unused user id."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may try things as another user")

T = TypeVar("T")


def as_stranger(attempt: Callable[[], T], user: int = STRANGER) -> T:
    """The result of the attempt in a copy of this process under another user."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads are not in the copy, and do not matter
        pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            found: Any = (True, attempt())
        except BaseException:  # the test must see any exception
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
