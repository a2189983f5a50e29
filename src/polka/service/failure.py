"""The one exception for the person at the terminal."""


class Failure(Exception):
    """Polka cannot go on, for a reason that its user can fix. Shown as one line, never as a traceback."""

    exit_code = 1


class NotYetFailure(Failure):
    """A temporary failure. Callers may retry."""


class OutdatedFailure(Failure):
    """Another cache has taken over. A restart of this cache should wait, because two caches would replace each other
    for ever."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h
