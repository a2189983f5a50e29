"""Who may reach whom: from a stranger's pod the api alone, by the port of its clients."""

import json

import pytest

from cluster.commands import wait_for
from cluster.release import Release
from waiting import WAIT_SECONDS

pytestmark = pytest.mark.cluster

CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()
    print("open")
except OSError:
    print("closed")
"""


@pytest.fixture(scope="module")
def stranger(polka: Release) -> str:
    """A pod without labels, in the release's namespace."""
    container = {
        "name": "stranger",
        "image": f"polka:{polka.tag}",
        "command": ["sleep", "infinity"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "containers": [container],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": 0,
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stranger", "namespace": polka.namespace},
        "spec": spec,
    }
    polka.cluster.kubectl("apply", "--filename=-", stdin=json.dumps(pod))
    polka.kubectl("wait", "pod/stranger", "--for=condition=Ready", f"--timeout={WAIT_SECONDS:.0f}s")
    return "stranger"


def reach(polka: Release, pod: str, host: str, port: int) -> str:
    return polka.kubectl("exec", pod, "--", "python", "-c", CONNECT, host, str(port)).strip()


def address(polka: Release, component: str) -> str:
    return str(polka.pods(component)[0]["status"]["podIP"])


def test_a_stranger_reaches_the_api_alone_and_only_by_its_port(polka: Release, stranger: str) -> None:
    assert reach(polka, stranger, "polka-api", 8000) == "open"
    assert reach(polka, stranger, address(polka, "api"), 8000) == "open"
    for component, port in (("cache", 8100), ("cache", 8101), ("postgres", 5432)):
        assert reach(polka, stranger, f"polka-{component}", port) == "closed"
        assert reach(polka, stranger, address(polka, component), port) == "closed"
    assert reach(polka, stranger, address(polka, "api"), 8001) == "closed"


def test_the_api_reaches_the_cache_and_postgres_and_nothing_else(polka: Release, stranger: str) -> None:
    api = polka.ready_pods("api")[0]
    assert reach(polka, api, "polka-cache", 8100) == "open"
    assert reach(polka, api, "polka-postgres", 5432) == "open"
    server = polka.cluster.get("service", "kubernetes", "--namespace=default")["spec"]["clusterIP"]
    assert reach(polka, stranger, server, 443) == "open"
    assert reach(polka, api, server, 443) == "closed"


def test_the_cache_reaches_postgres_but_no_api(polka: Release) -> None:
    cache = polka.ready_pods("cache")[0]
    assert reach(polka, cache, "polka-postgres", 5432) == "open"
    assert reach(polka, cache, "polka-api", 8000) == "closed"


def test_an_api_tells_the_cache_what_is_pending(polka: Release) -> None:
    """The edge from api to cache carries what it is for."""
    with polka.client() as client:
        client.post("/banks", json={"name": "network"})
        wait_for("the cache answers an api", lambda: client.get("/banks/network").json()["as_of"] is not None)
