"""The environment of child processes: the variables that each child needs, and no secrets meant for others."""

import os

PLACES = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
TEXT = ("LANG", "LANGUAGE", "LC_", "TZ", "TERM", "COLUMNS", "NO_COLOR")
MACHINE = (*PLACES, *TEXT)
"""The variables that every program may need: places, and formats of dates and text."""
PYTHON = ("PYTHON", "VIRTUAL_ENV")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
NETWORK = ("SSL_", *PROXIES, *(name.lower() for name in PROXIES))
SERVICES = ("POLKA_", "PG", "OTEL_", *PYTHON, *NETWORK)
SPAMMER = ("LOCUST_", "SSL_", *PYTHON)
CLIENTS_KEYS = frozenset({"POLKA_KEY", "POLKA_NEW_KEY"})
"""Keys that commands send or store. No service needs them."""


def of_postgres() -> dict[str, str]:
    """For a program that may run as another user, who can read the program's environment."""
    return inherited()


def of_services() -> dict[str, str]:
    """For an api or a cache: with settings of Polka, of the database client and of traces."""
    return {name: value for name, value in inherited(*SERVICES).items() if name not in CLIENTS_KEYS}


def of_spammer(key: str | None) -> dict[str, str]:
    """For Locust, with the only key that the spammer sends. Other users could read a key on the command line."""
    return inherited(*SPAMMER) | ({"POLKA_KEY": key} if key else {})


def inherited(*beginnings: str) -> dict[str, str]:
    """Our variables with the names or prefixes of the machine, or with one of these prefixes."""
    return {name: value for name, value in os.environ.items() if name.startswith((*MACHINE, *beginnings))}
