"""The chart against a Postgres outside the release, with a password and a Secret that somebody else made."""

import json
from collections.abc import Callable, Iterator

import pytest

from cluster.release import Release, acknowledged
from waiting import WAIT_SECONDS

pytestmark = pytest.mark.cluster

PASSWORD = "p@ss:/w%rd"
PAYMENTS = 1_000


def objects(namespace: str) -> list[dict[str, object]]:
    """A Postgres of somebody else's, whose data lives as long as its pod."""
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    ready = {"exec": {"command": ["pg_isready", "--host=127.0.0.1"]}, "periodSeconds": 1}
    environ = {
        "POSTGRES_USER": "ledger",
        "POSTGRES_DB": "payments",
        "POSTGRES_PASSWORD": PASSWORD,
        "PGDATA": "/data/own",
    }
    container = {
        "name": "postgres",
        "image": "postgres:17",
        "env": [{"name": name, "value": value} for name, value in environ.items()],
        "readinessProbe": ready,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "securityContext": restricted,
    }
    spec = {
        "containers": [container],
        "volumes": [{"name": "data", "emptyDir": {}}],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 999, "seccompProfile": {"type": "RuntimeDefault"}},
    }

    def meta(name: str) -> dict[str, object]:
        return {"name": name, "namespace": namespace, "labels": {"app": "ledger"}}

    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": meta("ledger"), "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta("ledger"),
            "spec": {"selector": {"app": "ledger"}, "ports": [{"port": 5432}]},
        },
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta("ledger-app"), "stringData": {"password": PASSWORD}},
    ]


@pytest.fixture
def release(make_release: Callable[[], Release]) -> Iterator[Release]:
    release = make_release()
    listed = {"apiVersion": "v1", "kind": "List", "items": objects(release.namespace)}
    release.cluster.kubectl("apply", "--filename=-", stdin=json.dumps(listed))
    release.kubectl("wait", "pod/ledger", "--for=condition=Ready", f"--timeout={WAIT_SECONDS:.0f}s")
    yield release
    release.delete_namespace()


def test_it_pays_into_a_database_outside_the_release(release: Release) -> None:
    said = release.install(
        postgres__enabled=False,
        externalDatabase={"host": "ledger", "name": "payments", "user": "ledger", "existingSecret": "ledger-app"},
    )
    assert "warning" not in said.lower(), said
    assert not release.pods("postgres")
    assert acknowledged(release.spam("external", transactions=PAYMENTS).ended()) == PAYMENTS
    assert "The audit is clean." in release.audit()
