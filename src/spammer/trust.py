"""The authorities for verifying an api's certificate: from the file SSL_CERT_FILE, or from the system."""

import functools
import ssl

import certifi
import gevent.ssl

AUTHORITIES = ssl.get_default_verify_paths().cafile or certifi.where()


@functools.cache
def verified(**_: object) -> gevent.ssl.SSLContext:
    """The one context of all users, because each would read all authorities again."""
    return gevent.ssl.create_default_context(cafile=AUTHORITIES)
