"""TLS of a service's ports, and of the way to the cache. Each handshake uses the current files.

Open connections keep the certificates of their start. They end by themselves within half a minute.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
from msgspec import Meta, Struct

from polka.service import settings
from polka.service.background import background
from polka.service.failure import Failure

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""Between two checks of the files."""
ROUNDS = 4
"""Of a handshake in memory. After these rounds both ends have finished."""

File = str | None
"""None or an empty text: no file."""
Make = Callable[[], ssl.SSLContext]


class Settings(Struct, frozen=True):
    """For listening services."""

    tls_cert: Annotated[
        File,
        Meta(description="The certificate of the service, then those that lead to an authority, in one PEM file."),
    ] = None
    tls_key: Annotated[File, Meta(description="The key of `POLKA_TLS_CERT`, in PEM, without a passphrase.")] = None
    tls_client_ca: Annotated[
        File,
        Meta(
            description="Mutual TLS: authorities, in PEM. One of them must have signed a client's certificate. "
            "The port of metrics and health asks for no certificate."
        ),
    ] = None


class CacheSettings(Struct, frozen=True):
    """For clients of the cache: the api and the audit."""

    cache_ca: Annotated[
        File,
        Meta(
            description="Authorities, in PEM. One of them must have signed the certificate of a cache with an https "
            "URL. Without it those of the system count."
        ),
    ] = None
    cache_cert: Annotated[
        File, Meta(description="The certificate for a cache that asks for one (mutual TLS), in PEM.")
    ] = None
    cache_key: Annotated[File, Meta(description="The key of `POLKA_CACHE_CERT`, in PEM, without a passphrase.")] = None


class Renewed(ssl.SSLContext):
    """Begins each handshake with the newest context from its files."""

    _make: Make
    _files: tuple[str, ...]
    _seen: tuple[bytes, ...]
    _newest: ssl.SSLContext

    def __new__(cls, make: Make, *files: str | None) -> "Renewed":
        self = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        self._make = make
        self._files = tuple(file for file in files if file)
        self._newest = make()
        self._seen = self._contents()
        return self

    def __init__(self, *_: Any) -> None:
        """`__new__` does everything, because `ssl.SSLContext` requires it."""

    def wrap_bio(self, *positional: Any, **named: Any) -> ssl.SSLObject:
        return self._newest.wrap_bio(*positional, **named)

    def look(self) -> None:
        """Load the files if they have changed. Invalid files are logged, and the previous files stay in force."""
        try:
            contents = self._contents()
            if contents == self._seen:
                return
            self._seen = contents
            self._newest = self._make()
        except (Failure, OSError) as error:
            log.warning("new certificates are not used: %s", error)
        else:
            log.info("new certificates are in use")

    def _contents(self) -> tuple[bytes, ...]:
        return tuple(Path(file).read_bytes() for file in self._files)


@asynccontextmanager
async def watched(*contexts: Renewed | None) -> AsyncIterator[None]:
    """Check the files of all these contexts while the block runs."""
    async with background(watch([context for context in contexts if context])):
        yield


async def watch(contexts: Sequence[Renewed]) -> None:
    while contexts:
        await asyncio.sleep(LOOK_SECONDS)
        for context in contexts:
            context.look()


def of_service(chosen: Settings, with_clients: bool = True) -> Renewed | None:
    """The TLS of a port; None without TLS. Clients need certificates if the settings require them.

    Raises:
        Failure: a file is missing or invalid. The message names the setting.
    """
    if not chosen.tls_cert:
        for field in ("tls_key", "tls_client_ca"):
            if getattr(chosen, field):
                raise Failure(f"{settings.variable(field)} is set, and {settings.variable('tls_cert')} is not.")
        return None
    client_ca = chosen.tls_client_ca if with_clients else None

    def make() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 0  # or a client could resume a session with a certificate that is no longer accepted
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        load_certificate(context, "tls_cert", chosen.tls_cert, "tls_key", chosen.tls_key)
        if client_ca:
            load_authorities(context, "tls_client_ca", client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    return Renewed(make, chosen.tls_cert, chosen.tls_key, client_ca)


def to_cache(url: str, chosen: CacheSettings) -> Renewed | None:
    """The TLS of the way to a cache with this URL; None if the way is plain.

    Raises:
        Failure: a file is missing or invalid, or the URL is not https. The message names the setting.
    """
    if urlsplit(url).scheme != "https":
        for field in ("cache_ca", "cache_cert", "cache_key"):
            if getattr(chosen, field):
                raise Failure(f"{settings.variable(field)} is set, and {settings.variable('cache_url')} is not https.")
        return None
    if chosen.cache_key and not chosen.cache_cert:
        raise Failure(f"{settings.variable('cache_key')} is set, and {settings.variable('cache_cert')} is not.")

    def make() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if chosen.cache_ca:
            load_authorities(context, "cache_ca", chosen.cache_ca)
        else:
            context.load_default_certs()
        if chosen.cache_cert:
            load_certificate(context, "cache_cert", chosen.cache_cert, "cache_key", chosen.cache_key)
        return context

    return Renewed(make, chosen.cache_ca, chosen.cache_cert, chosen.cache_key)


def verifies(url: str) -> bool:
    """Whether a client of this URL verifies certificates: always, except for plain HTTP, which has none.

    A verifying client reads all authorities of the machine. This takes 60 ms of processor time.

    Raises:
        httpx.InvalidURL: the URL is invalid.
    """
    return httpx.URL(url).scheme != "http"


def load_certificate(
    context: ssl.SSLContext, cert_field: str, cert: str | None, key_field: str, key: str | None
) -> None:
    """Load the certificate into the context, after a check of its validity."""
    named, key_named = settings.variable(cert_field), settings.variable(key_field)
    if not cert or not key:
        raise Failure(f"{named} is set, and {key_named} is not.")
    load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), cert_field, cert)
    read(key_named, key)
    try:
        context.load_cert_chain(cert, key, password=no_passphrase)
    except PassphraseError:
        raise Failure(f"{key_named}: {key} has a passphrase, and must have none.") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Failure(f"{key_named}: {key} is not the key of {named}.") from None
        raise Failure(f"{key_named}: {key} holds no key in PEM.") from None
    try:
        show(cert, key, context.protocol == ssl.PROTOCOL_TLS_SERVER)
    except ssl.SSLCertVerificationError as error:
        raise Failure(f"{named}: {cert} is refused: {error.verify_message}.") from None


def load_authorities(context: ssl.SSLContext, field: str, path: str) -> None:
    named = settings.variable(field)
    try:
        context.load_verify_locations(cadata=read(named, path))
    except (ssl.SSLError, ValueError):
        raise Failure(f"{named}: {path} holds no certificate in PEM.") from None


def read(named: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise Failure(f"{named}: {path} cannot be read: {error.strerror or error}.") from None


class PassphraseError(Exception):
    """The key has a passphrase. OpenSSL would ask for it at the terminal."""


def no_passphrase() -> str:
    raise PassphraseError


def show(cert: str, key: str, as_server: bool) -> None:
    """Show the certificate in memory to a peer that trusts only this certificate.

    Raises:
        ssl.SSLCertVerificationError: the certificate has expired, is not valid yet, or is not for servers, or not for
            clients.
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    peer, other = (client, server) if as_server else (server, client)
    other.verify_mode = ssl.CERT_NONE
    peer.verify_mode = ssl.CERT_REQUIRED
    peer.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    peer.load_verify_locations(cert)
    for context in (server, client):
        context.load_cert_chain(cert, key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)
    for end in ends * ROUNDS:
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
