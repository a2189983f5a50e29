"""A client of a Polka for a command. An error of a call is a line for people."""

from collections.abc import Iterator
from contextlib import contextmanager

from polka.client import Client, ClientError, ProblemError
from polka.client.connection import TRUST
from polka.local.presence import Presence
from polka.service.failure import Failure

UNAUTHORIZED, FORBIDDEN = 401, 403
BANKS_ADVICE = "`polka banks` lists the banks, and `polka banks open` opens others."
"""The advice after the name of an unknown bank."""


@contextmanager
def asking(polka: Presence) -> Iterator[Client]:
    """A client of the Polka while the block runs.

    Raises:
        Failure: the Polka does not answer, or rejects a call of the block.
    """
    try:
        client = Client(polka.url, polka.key)
    except ValueError as error:
        raise Failure(f"{error} See --key.") from None
    with client:
        try:
            yield client
        except ProblemError as error:
            raise Failure(reason(error, polka)) from None
        except ClientError as error:
            raise Failure(str(error).replace(TRUST, "Set SSL_CERT_FILE to the file of its authority.")) from None


def reason(error: ProblemError, polka: Presence) -> str:
    """Why Polka has rejected a call."""
    if error.status == UNAUTHORIZED:
        return f"{polka.url} wants {'another' if polka.key else 'a'} key: set POLKA_KEY or pass --key."
    if error.code == "unknown_bank" or error.detail.startswith("There is no bank"):
        return f"{error.detail} {BANKS_ADVICE}"
    return error.detail
