"""The one exception that is meant for the person at the terminal."""


class Failure(Exception):
    """Polka cannot go on, and its user can mend why: shown as one line, never as a traceback."""

    exit_code = 1


class NotYetFailure(Failure):
    """What is missing may come without anybody's doing: whoever has time tries again."""


class OutdatedFailure(Failure):
    """Another cache has taken over. Whoever starts this one again should wait: two would oust each other for ever."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h
