"""TLS: who has the right certificate is served, everybody else is refused, and no file is used that cannot be."""

import asyncio
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from commands import one_line, polka, started
from nursery import Child
from polka.audit import snapshot
from polka.edge import tls
from polka.edge.bounds import Bounds
from polka.edge.tls import CacheSettings, Settings
from polka.service.failure import Failure
from requests_of_routes import TABLE
from services import CACHE_TOKEN, KEY, Service, Services, bearer, payment, wait_for
from waiting import WAIT_SECONDS

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
HOST = "127.0.0.1"


class Files:
    """Authorities and what they have signed, as files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.authority, self.other = trustme.CA(), trustme.CA()
        self.ca, self.wrong_ca = self._write("ca", self.authority.cert_pem), self._write("wrong", self.other.cert_pem)

    def issued(self, name: str, by: trustme.CA | None = None, **how: Any) -> tuple[str, str]:
        """A certificate and its key."""
        made = (by or self.authority).issue_cert(HOST, **how)
        return (
            self._write(f"{name}.pem", *made.cert_chain_pems),
            self._write(f"{name}.key", made.private_key_pem),
        )

    def _write(self, name: str, *parts: trustme.Blob) -> str:
        """In place of what is there, at once, as Kubernetes does."""
        path = self._folder / name
        path.with_suffix(".new").write_bytes(b"".join(part.bytes() for part in parts))
        path.with_suffix(".new").rename(path)
        return str(path)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    folder = tmp_path / "certificates"
    folder.mkdir()
    return Files(folder)


def served(pair: tuple[str, str], client_ca: str = "") -> dict[str, str]:
    return {"POLKA_TLS_CERT": pair[0], "POLKA_TLS_KEY": pair[1], "POLKA_TLS_CLIENT_CA": client_ca}


def shown(pair: tuple[str, str]) -> dict[str, str]:
    return {"POLKA_CACHE_CERT": pair[0], "POLKA_CACHE_KEY": pair[1]}


def client_of(ca: str, pair: tuple[str, str] | None = None) -> httpx.Client:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca)
    if pair:
        context.load_cert_chain(*pair)
    return httpx.Client(verify=context, trust_env=False, headers=bearer(KEY), timeout=WAIT_SECONDS)


@contextmanager
def spamming_at(api: Service, files: Files) -> Iterator[tuple[Path, Child]]:
    """A spammer that pays to the api for ever, on new connections every now and then, with its log."""
    log = Path(files.ca).with_name("spammer.log")
    words = ["spam", f"--url={secure(api.url)}", "--transactions=0", "--max-workers=2", "--banks=2", "--progress=lines"]
    with started(log, *words, POLKA_KEY=KEY, SSL_CERT_FILE=files.ca) as process:
        yield log, process


def secure(url: str) -> str:
    return url.replace("http:", "https:")


def ready(service: Service, ca: str) -> Service:
    with client_of(ca) as client:
        wait_for("it is ready", lambda: client.get(f"{secure(service.metrics_url)}/health/ready").is_success)
    return service


def test_payments_and_what_the_cache_is_told_and_asked_are_encrypted(services: Services, files: Files) -> None:
    """With certificates on both sides; a client without one is refused, and so is one of another authority."""
    pair, own = files.issued("service"), files.issued("client")
    environ = served(pair, files.ca) | shown(own) | {"POLKA_CACHE_CA": files.ca}
    cache = ready(services.cache(POLKA_FLUSH_SECONDS="0.1", **environ), files.ca)
    api = ready(services.api(POLKA_CACHE_URL=secure(services.cache_url), **environ), files.ca)
    with client_of(files.ca, own) as client:
        assert client.post(f"{secure(api.url)}/transaction", json=payment()).status_code == 201
        assert client.patch(f"{secure(api.url)}/banks/bank1", json={"caps": {"USD": 1000}}).status_code == 200
        assert client.post(f"{secure(api.url)}/transaction", json=payment()).status_code == 201
        wait_for("the cache answers", lambda: client.get(f"{secure(api.url)}/banks/bank1").json()["as_of"])
    done = asyncio.run(audited(services, environ))
    assert done.is_clean, done.differences
    for service in (api, cache):
        for url in (service.url, service.metrics_url):
            with pytest.raises(httpx.RemoteProtocolError):
                httpx.get(f"{url}/hello", trust_env=False)
        stranger = files.issued("stranger", files.other)
        for refused in (client_of(files.ca), client_of(files.ca, stranger)):
            with refused, pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
                refused.get(f"{secure(service.url)}/hello")
        with client_of(files.wrong_ca, own) as distrustful, pytest.raises(httpx.ConnectError, match="verify failed"):
            distrustful.get(f"{secure(service.url)}/hello")


async def audited(services: Services, environ: dict[str, str]) -> snapshot.Audit:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        return await snapshot.audit(services.database_url, secure(services.cache_url), CACHE_TOKEN)


def test_with_mutual_tls_no_route_is_open_to_a_key_or_a_certificate_alone(services: Services, files: Files) -> None:
    environ = served(files.issued("service"), files.ca)
    api = ready(services.api(**environ), files.ca)
    routes = [(method, re.sub(r"{\w+:\w+}", "1", path), needed) for (method, path), (needed, *_) in TABLE.items()]
    with client_of(files.ca, files.issued("client")) as certified, client_of(files.ca) as keyed:
        for method, path, needed in routes:
            with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
                keyed.request(method, f"{secure(api.url)}{path}")
            without_key = certified.build_request(method, f"{secure(api.url)}{path}")
            del without_key.headers["Authorization"]
            assert (certified.send(without_key).status_code == 401) == (needed is not None), path


@pytest.mark.parametrize("environ", ["no authority", "wrong authority", "no certificate", "another's certificate"])
def test_an_api_and_a_cache_that_do_not_trust_each_other_say_nothing_to_each_other(
    services: Services, files: Files, environ: str
) -> None:
    pair = files.issued("service")
    given = {
        "no authority": shown(pair),
        "wrong authority": shown(pair) | {"POLKA_CACHE_CA": files.wrong_ca},
        "no certificate": {"POLKA_CACHE_CA": files.ca},
        "another's certificate": shown(files.issued("stranger", files.other)) | {"POLKA_CACHE_CA": files.ca},
    }[environ]
    cache = ready(services.cache(**served(pair, files.ca)), files.ca)
    api = services.api(POLKA_CACHE_URL=secure(services.cache_url), **given).ready()
    with httpx.Client(trust_env=False, headers=bearer(KEY), timeout=WAIT_SECONDS) as client:
        assert client.post(f"{api.url}/transaction", json=payment()).status_code == 201
        balances = client.get(f"{api.url}/banks/bank1").json()["balances"]
        assert [held["pending"] for held in balances if held["pending"] is not None] == []
    wait_for("it says so", lambda: "the cache does not answer" in api.log.read_text())
    assert CACHE_TOKEN not in api.log.read_text() + cache.log.read_text()


def test_new_files_are_in_force_without_a_start_and_bad_ones_change_nothing(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = files.issued("service")
    context = tls.of_service(Settings(tls_cert=cert, tls_key=key, tls_client_ca=files.ca))
    assert context
    own = client_pair(files, files.ca)
    assert handshake(context, own) == "served"
    first = peer_serial(context, own)
    files.issued("service")
    context.look()
    second = peer_serial(context, own)
    assert second != first
    Path(key).write_text("nonsense")
    context.look()
    assert peer_serial(context, own) == second
    assert "POLKA_TLS_KEY" in caplog.text
    files.issued("service")
    Path(files.ca).write_bytes(files.other.cert_pem.bytes())
    context.look()
    assert "unknown ca" in handshake(context, own).lower() or "verify failed" in handshake(context, own)


def client_pair(files: Files, ca: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca)
    context.load_cert_chain(*files.issued("client"))
    return context


def ends_of(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=HOST, session=session),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for end in ends * 4:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return ends


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_not_resumed_under_new_files_and_has_no_ticket(files: Files, version: ssl.TLSVersion) -> None:
    """Its client would not have to show a certificate that counts by then."""
    context = tls.of_service(settings_of(files.issued("service"), tls_client_ca=files.ca))
    assert context
    own = client_pair(files, files.ca)
    own.maximum_version = version
    first, _ = ends_of(context, own)
    with pytest.raises(ssl.SSLWantReadError):
        first.read(1)  # a ticket would arrive behind the handshake
    assert first.session
    assert not first.session.has_ticket
    files.issued("service")
    context.look()
    again, _ = ends_of(context, own, first.session)
    assert not again.session_reused


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    try:
        ends_of(server, client)
    except ssl.SSLError as error:
        return str(error)
    return "served"


def peer_serial(server: ssl.SSLContext, client: ssl.SSLContext) -> Any:
    certificate: Any = ends_of(server, client)[0].getpeercert()
    return certificate["serialNumber"]


def test_a_running_api_takes_a_new_certificate_and_drops_no_connection(services: Services, files: Files) -> None:
    pair = files.issued("service")
    api = ready(services.api(**served(pair)), files.ca)
    with client_of(files.ca) as client:
        assert client.get(f"{secure(api.url)}/hello").status_code == 200
        files.issued("service")
        wait_for("it has seen them", lambda: "new certificates are in use" in api.log.read_text())
        assert client.get(f"{secure(api.url)}/hello").status_code == 200


@pytest.mark.parametrize("connections", [(), ("--pool=4",)], ids=["a connection each", "a pool"])
def test_the_spammer_pays_over_https_to_an_api_that_it_verifies_alone(
    services: Services, files: Files, connections: tuple[str, ...]
) -> None:
    """Another server in the api's place would get the key with the first request."""
    api = ready(services.api(**served(files.issued("service"))), files.ca)
    words = ["spam", f"--url={secure(api.url)}", "--transactions=50", "--max-workers=5", "--banks=2", *connections]
    refused = polka(*words, POLKA_KEY=KEY, SSL_CERT_FILE=files.wrong_ca)
    assert refused.returncode == 1
    assert "CERTIFICATE_VERIFY_FAILED" in refused.stdout + refused.stderr
    done = polka(*words, POLKA_KEY=KEY, SSL_CERT_FILE=files.ca)
    assert done.returncode == 0, done.stderr
    assert " 50  accepted" in done.stderr, done.stderr


def test_a_user_of_the_spammer_sends_no_key_to_an_api_that_it_cannot_verify(services: Services, files: Files) -> None:
    """The api shows another certificate once the run has begun."""
    pair = files.issued("service")
    api = ready(services.api(**served(pair)), files.ca)
    with spamming_at(api, files) as (log, process):
        wait_for("it pays", lambda: " accepted" in log.read_text() or "/s " in log.read_text())
        files.issued("service", files.other)
        wait_for("it does not trust the api any more", lambda: "CERTIFICATE_VERIFY_FAILED" in log.read_text())
        assert process.poll() is None


def test_commands_reach_an_api_over_https_if_they_can_verify_it(services: Services, files: Files) -> None:
    services.cache()
    api = ready(services.api(**served(files.issued("service"))), files.ca)
    words = ["clearing", "show", "1", f"--url={secure(api.url)}", f"--key={KEY}"]
    said = one_line(polka(*words, SSL_CERT_FILE=files.wrong_ca))
    assert "its certificate is not trusted" in said
    assert said.endswith("Set SSL_CERT_FILE to the file of its authority.")
    done = polka(*words, SSL_CERT_FILE=files.ca)
    assert done.returncode == 0, done.stderr
    assert "Window 1" in done.stdout


def test_a_client_that_never_shakes_hands_is_cut_off(services: Services, files: Files) -> None:
    api = ready(services.api(**served(files.issued("service")), POLKA_HEAD_TIMEOUT_SECONDS="2"), files.ca)
    with socket.create_connection((HOST, httpx.URL(api.url).port or 0), timeout=WAIT_SECONDS) as silent:
        began = time.monotonic()
        assert silent.recv(1) == b""
        assert time.monotonic() - began < Bounds().head_timeout_seconds


Bad = Callable[[Files], tuple[Settings, str]]
BAD: dict[str, Bad] = {
    "no key": lambda f: (Settings(tls_cert=f.issued("a")[0]), "POLKA_TLS_CERT is set, and POLKA_TLS_KEY is not."),
    "no certificate": lambda f: (Settings(tls_key=f.issued("a")[1]), "POLKA_TLS_KEY is set, and POLKA_TLS_CERT is n"),
    "only clients": lambda f: (Settings(tls_client_ca=f.ca), "POLKA_TLS_CLIENT_CA is set, and POLKA_TLS_CERT is not."),
    "missing file": lambda f: (
        Settings(tls_cert="/nowhere", tls_key=f.issued("a")[1]),
        "POLKA_TLS_CERT: /nowhere cannot be read: No such file or directory.",
    ),
    "another key": lambda f: (
        Settings(tls_cert=f.issued("a")[0], tls_key=f.issued("b")[1]),
        "b.key is not the key of POLKA_TLS_CERT.",
    ),
    "no PEM": lambda f: (
        Settings(tls_cert=f.issued("a")[1], tls_key=f.issued("a")[1]),
        "a.key holds no certificate in PEM.",
    ),
    "no key in the file": lambda f: (
        Settings(tls_cert=f.issued("a")[0], tls_key=f.ca),
        "ca holds no key in PEM.",
    ),
    "expired": lambda f: (
        settings_of(f.issued("a", not_before=YESTERDAY - timedelta(days=9), not_after=YESTERDAY)),
        "POLKA_TLS_CERT: ",
    ),
    "authorities that are none": lambda f: (
        settings_of(f.issued("a"), tls_client_ca=f.issued("a")[1]),
        "POLKA_TLS_CLIENT_CA: ",
    ),
}


def settings_of(pair: tuple[str, str], **more: str) -> Settings:
    return Settings(tls_cert=pair[0], tls_key=pair[1], **more)


@pytest.mark.parametrize("bad", BAD)
def test_a_file_that_cannot_be_used_is_named_at_the_start(files: Files, bad: str) -> None:
    chosen, said = BAD[bad](files)
    with pytest.raises(Failure) as raised:
        tls.of_service(chosen)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    if bad == "expired":
        assert str(raised.value).endswith("a.pem is refused: certificate has expired.")


def test_a_service_with_an_expired_certificate_ends_with_one_line(services: Services, files: Files) -> None:
    pair = files.issued("a", not_before=YESTERDAY - timedelta(days=9), not_after=YESTERDAY)
    api = services.api(**served(pair))
    assert api.ended() == 1
    [line] = api.log.read_text().splitlines()
    assert json.loads(line)["event"] == f"POLKA_TLS_CERT: {pair[0]} is refused: certificate has expired."


def test_files_for_the_cache_need_an_https_url(files: Files) -> None:
    with pytest.raises(Failure, match=r"^POLKA_CACHE_CA is set, and POLKA_CACHE_URL is not https\.$"):
        tls.to_cache("http://cache:8100", CacheSettings(cache_ca=files.ca))
    assert tls.to_cache("http://cache:8100", CacheSettings()) is None
    assert tls.to_cache("HTTPS://cache:8100", CacheSettings()) is not None
