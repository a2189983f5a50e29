"""What is wrong with the arguments of a client, and TLS."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from client_kinds import Connect
from polka.client import Client, UnavailableError
from running import Running
from services import KEY, Service, Services, wait_for


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ({"url": "localhost:8000"}, "url: must be an address as http://127.0.0.1:8000"),
        ({"url": "ftp://polka"}, "url: must be an address"),
        ({"url": "http://[::1"}, "url: must be an address"),
        ({"url": "http://polka:port"}, "url: must be an address"),
        ({"url": "http://polka..example"}, "url: must be an address"),
        ({"url": "http://xn--a"}, "url: must be an address"),
        ({"url": "http://polka\x00"}, "url: must be an address"),
        ({"url": f"http://polka/console#key={KEY}"}, "url: must have no user, no query and no fragment"),
        ({"url": f"http://user:{KEY}@polka"}, "url: must have no user, no query and no fragment"),
        ({"key": f"Bearer {KEY}"}, "key: must be polka_ and 40 hexadecimal digits"),
        ({"key": f"{KEY}\n"}, "key: must be polka_ and 40 hexadecimal digits"),
        ({"key": ""}, "key: must be polka_ and 40 hexadecimal digits"),
        ({"timeout_seconds": 0}, "timeout_seconds: must be above 0"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds: must be above 0"),
        ({"deadline_seconds": 0}, "deadline_seconds: must be above 0"),
        ({"attempts_max": 0}, "attempts_max: must be at least 1"),
        ({"connections_max": 0}, "connections_max: must be at least 1"),
        ({"url": "https://polka", "verify": "no such file"}, "verify: no such file holds no certificates"),
        ({"url": "https://polka", "verify": __file__}, "holds no certificates in PEM"),
    ],
    ids=str,
)
def test_an_argument_that_cannot_be(arguments: dict[str, Any], fact: str) -> None:
    with pytest.raises(ValueError, match=fact) as wrong:
        Client(**arguments)
    assert KEY not in str(wrong.value)


def test_a_client_does_not_show_its_key() -> None:
    with Client("http://127.0.0.1:8000/", KEY) as client:
        assert KEY not in repr(client)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def api(services: Services, authority: trustme.CA, tmp_path: Path) -> Service:
    made = authority.issue_cert("127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "cert.key"
    cert.write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
    made.private_key_pem.write_to_path(str(key))
    return services.api(POLKA_TLS_CERT=str(cert), POLKA_TLS_KEY=str(key))


def test_a_client_trusts_the_authority_that_it_is_given_and_no_other(
    api: Service, authority: trustme.CA, tmp_path: Path, connect: Connect
) -> None:
    api.url = api.url.replace("http:", "https:")
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    context = ssl.create_default_context(cafile=str(file))
    greeting = wait_for("the api answers", lambda: greeted(connect(api.url, verify=str(file))))
    assert connect(api.url, verify=context).hello() == greeting
    with pytest.raises(UnavailableError, match=r"certificate is not trusted.*Pass the file of its authority"):
        connect(api.url).hello()


def greeted(client: Any) -> Any:
    try:
        return client.hello()
    except UnavailableError:
        return None


def test_https_where_a_polka_speaks_http(polka: Running, connect: Connect) -> None:
    with pytest.raises(UnavailableError, match="TLS has failed"):
        connect(polka.url.replace("http:", "https:")).hello()
