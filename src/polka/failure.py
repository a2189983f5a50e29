"""The one exception that is meant for the person at the terminal."""


class Failure(Exception):
    """Polka cannot go on, and its user can mend why: shown as one line, never as a traceback."""
