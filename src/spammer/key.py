"""The API key, and the one api that gets it. The key comes from the environment, because options are shown."""

import os

HOST = "http://127.0.0.1:8000"
"""The api that is meant where none is named."""

key_address = ""
"""The one api that gets the key: that of the command, and for a worker of a page elsewhere that of its first run."""


def address(host: str | None) -> str:
    return (host or HOST).rstrip("/")


def bind(host: str | None) -> None:
    """From now on, this api gets the key."""
    global key_address
    key_address = address(host)


def is_bound() -> bool:
    return bool(key_address)


def check_host(host: str | None) -> None:
    """Whoever opens the page may name another api there: the key that was given for this one is not sent to it.

    Raises:
        ValueError: there is a key, and another api.
    """
    if os.environ.get("POLKA_KEY") and address(host) != key_address:
        raise ValueError(f"the key that this spammer was started with is for {key_address} alone.")


def authorization(url: str) -> dict[str, str]:
    """The header with the key, for the one api that gets it."""
    key = os.environ.get("POLKA_KEY")
    return {"Authorization": f"Bearer {key}"} if key and url == key_address else {}
