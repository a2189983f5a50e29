"""The facts in errors of the system, for people. Pure."""

import re

ERRNO = re.compile(r"\[Errno -?\d+\] ")


def fact(error: BaseException) -> str:
    """The fact in an error, without the system's number."""
    return ERRNO.sub("", str(error)) or type(error).__name__
