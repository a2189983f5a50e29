"""The chart with TLS everywhere: to the api, and both ways between apis and cache."""

import json
from collections.abc import Callable, Iterator

import pytest
import trustme

from cluster.commands import CommandError
from cluster.release import Release, acknowledged

pytestmark = pytest.mark.cluster

PAYMENTS = 1_000
OWNERS = {"api": "polka-api", "cache": "polka-cache", "cache-client": "apis-of-polka"}
"""Secrets with certificates, each with the name in the certificate."""
ASK_CACHE = """
import ssl, urllib.request
context = ssl.create_default_context(cafile="/etc/polka/cache/ca.crt")
{certificate}
print(urllib.request.urlopen("https://polka-cache:8100/hello", context=context, timeout=30).read())
"""
CERTIFICATE = 'context.load_cert_chain("/etc/polka/cache-client/tls.crt", "/etc/polka/cache-client/tls.key")'
ENDED = "CERTIFICATE_REQUIRED|RemoteDisconnected|ConnectionReset|BadStatusLine"
"""With TLS 1.3 a client hears only after its handshake that its certificate is missing."""
ASK_API = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:8000/hello", timeout=30).read())
"""


def secret(namespace: str, name: str, authority: trustme.CA, host: str) -> dict[str, object]:
    made = authority.issue_cert(host)
    data = {
        "tls.crt": b"".join(part.bytes() for part in made.cert_chain_pems),
        "tls.key": made.private_key_pem.bytes(),
        "ca.crt": authority.cert_pem.bytes(),
    }
    strings = {key: value.decode() for key, value in data.items()}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": strings}


@pytest.fixture(scope="module")
def release(make_release: Callable[[], Release]) -> Iterator[Release]:
    """Each owner's certificate is of an authority of its own."""
    release = make_release()
    secrets = [secret(release.namespace, owner, trustme.CA(), host) for owner, host in OWNERS.items()]
    listed = {"apiVersion": "v1", "kind": "List", "items": secrets}
    release.cluster.kubectl("apply", "--filename=-", stdin=json.dumps(listed))
    said = release.install(api__tlsSecret="api", cache__tlsSecret="cache", cache__clientTlsSecret="cache-client")
    assert "warning" not in said.lower(), said
    yield release
    release.delete_namespace()


def test_payments_helm_tests_and_the_audit_go_over_tls(release: Release) -> None:
    assert acknowledged(release.spam("tls", transactions=PAYMENTS).ended()) == PAYMENTS
    said = release.helm("test", "polka", "--timeout=2m")
    assert said.count("Phase:          Succeeded") == 3, said
    assert "The audit is clean." in release.audit()


def test_the_cache_refuses_a_client_without_a_certificate_and_the_api_one_without_tls(release: Release) -> None:
    asked = (
        (ASK_CACHE.format(certificate=CERTIFICATE), "HTTP Error 401"),
        (ASK_CACHE.format(certificate=""), ENDED),
        (ASK_API, ENDED),
    )
    for script, message in asked:
        with pytest.raises(CommandError, match=message):
            release.kubectl("exec", release.ready_pods("api")[0], "--container=api", "--", "python", "-c", script)
