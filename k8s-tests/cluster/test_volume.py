"""Two Postgres servers on one volume would destroy it: the second waits for the end of the first."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.commands import wait_for
from cluster.release import Release

pytestmark = pytest.mark.cluster


@pytest.fixture
def successor(polka: Release) -> Iterator[str]:
    """What a pod that replaces one that was deleted by force is for a while: a second one on the same volume."""
    first: Any = polka.get("pod", "polka-postgres-0")
    spec = {name: first["spec"][name] for name in ("containers", "volumes", "securityContext", "nodeName")}
    spec["automountServiceAccountToken"] = False
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "successor", "namespace": polka.namespace},
        "spec": spec,
    }
    polka.cluster.kubectl("apply", "--filename=-", stdin=json.dumps(pod))
    yield "successor"
    polka.kubectl("delete", "pod", "successor", "--ignore-not-found")
    polka.kubectl("scale", "statefulset/polka-postgres", "--replicas=1")


def test_a_second_server_waits_until_the_first_has_ended(polka: Release, successor: str) -> None:
    def process() -> str:
        return polka.kubectl("exec", successor, "--", "cat", "/proc/1/comm").strip()

    assert wait_for("the second one has begun", process) == "flock"
    assert polka.sql("SELECT 1") == "1"
    polka.kubectl("scale", "statefulset/polka-postgres", "--replicas=0")
    wait_for("the second one serves", lambda: process() == "postgres")
