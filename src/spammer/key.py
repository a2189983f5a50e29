"""The API key, and the single api that gets the key. The key comes from the environment, because options are shown."""

import os

HOST = "http://127.0.0.1:8000"
"""The default api."""

key_address = ""
"""The single api that gets the key: the api of the command, or of the first run of a worker elsewhere."""


def address(host: str | None) -> str:
    return (host or HOST).rstrip("/")


def bind(host: str | None) -> None:
    """From now on, this api gets the key."""
    global key_address
    key_address = address(host)


def is_bound() -> bool:
    return bool(key_address)


def check_host(host: str | None) -> None:
    """Check the api of a run. A user of the page may name another api, and this api must not get the key.

    Raises:
        ValueError: there is a key, and another api.
    """
    if os.environ.get("POLKA_KEY") and address(host) != key_address:
        raise ValueError(f"the key that this spammer was started with is for {key_address} alone.")


def authorization(url: str) -> dict[str, str]:
    """The header with the key, for the api of the key alone."""
    key = os.environ.get("POLKA_KEY")
    return {"Authorization": f"Bearer {key}"} if key and url == key_address else {}
