"""A release from its first minute to its last, and after: installed without a value, uninstalled, installed again."""

import time
from collections.abc import Callable

import pytest

from cluster.commands import CommandError, wait_for
from cluster.release import Release

pytestmark = pytest.mark.cluster

READY_SECONDS = 90
IMAGE_BYTES_MAX = 120_000_000
"""What the image may add to its base."""
OBJECTS = (
    "deployments,statefulsets,jobs,pods,services,configmaps,secrets,serviceaccounts,networkpolicies,"
    "poddisruptionbudgets,persistentvolumeclaims"
)

KEPT = ["persistentvolumeclaim/data-polka-postgres-0", "secret/polka-postgres", "secret/polka-secrets"]


@pytest.fixture(scope="module")
def release(make_release: Callable[[], Release]) -> Release:
    return make_release()


def test_without_values_it_is_ready_in_a_restricted_namespace_without_a_warning(release: Release) -> None:
    began = time.monotonic()
    said = release.install()
    seconds = time.monotonic() - began
    print(f"ready after {seconds:.1f} s")
    assert "warning" not in said.lower(), said
    assert seconds < READY_SECONDS
    assert len(release.ready_pods("api")) == 2
    assert {pod["spec"]["nodeName"] for pod in release.pods("api")} == set(release.cluster.nodes())


def test_the_image_is_small_and_one_process_without_rights_runs_in_it(release: Release) -> None:
    def inside(*words: str) -> str:
        return release.kubectl("exec", release.ready_pods("api")[0], "--container=api", "--", *words)

    sizes = [int(line.split()[0]) for line in inside("du", "--summarize", "--bytes", "/opt/polka", "/app").splitlines()]
    assert sum(sizes) < IMAGE_BYTES_MAX
    assert inside("id", "--user").strip() == "10001"
    assert "polka\0api" in inside("cat", "/proc/1/cmdline")
    with pytest.raises(CommandError, match="Read-only file system"):
        inside("touch", "/app/src/polka/written")


def test_helm_test_pays_is_refused_and_audits(release: Release) -> None:
    said = release.helm("test", "polka", "--timeout=2m")
    assert said.count("Phase:          Succeeded") == 3, said


def test_an_upgrade_with_the_same_values_restarts_nothing(release: Release) -> None:
    before = release.starts()
    secrets = release.secret("operator-key"), release.secret("password", "polka-postgres")
    said = release.upgrade()
    assert "warning" not in said.lower(), said
    assert release.starts() == before
    assert (release.secret("operator-key"), release.secret("password", "polka-postgres")) == secrets


def test_a_secret_that_has_another_key_is_never_drawn_anew(release: Release) -> None:
    password = release.secret("password", "polka-postgres")
    with pytest.raises(CommandError, match="The Secret polka-postgres is there and has no key other"):
        release.upgrade(postgres__passwordKey="other")
    assert release.secret("password", "polka-postgres") == password


def test_uninstalling_leaves_the_volume_and_the_secrets_and_installing_again_finds_the_data(release: Release) -> None:
    stored = release.sql("SELECT count(*) FROM transactions")
    assert int(stored) > 0
    release.helm("uninstall", "polka", "--wait", "--timeout=2m")
    wait_for("nothing is left but the volume and the Secrets", lambda: what_is_there(release) == KEPT)
    release.install()
    assert release.sql("SELECT count(*) FROM transactions") == stored
    assert "The audit is clean." in release.audit()
    release.helm("test", "polka", "--timeout=2m")


def what_is_there(release: Release) -> list[str]:
    """All but what Kubernetes itself puts into each namespace."""
    names = release.kubectl("get", OBJECTS, "--output=name").split()
    return sorted(name for name in names if name not in ("configmap/kube-root-ca.crt", "serviceaccount/default"))
