"""What the tests on a real cluster share: the cluster, Polka's image on its nodes, and a release to load and break."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster.cluster import Cluster
from cluster.machines import TOOL, machines
from cluster.release import ROOT, TAG, Release

numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    found = machines()
    if found is None:
        pytest.skip(f"there is no cluster: set KUBECONFIG and {TOOL}, or have kind on the PATH")
    cluster = Cluster(found)
    cluster.machines.load(f"polka:{TAG}", ROOT)
    return cluster


@pytest.fixture(scope="session")
def make_release(cluster: Cluster) -> Iterator[Callable[[], Release]]:
    """Makes releases that are not installed yet, each with a namespace of its own; all are gone in the end."""
    made: list[Release] = []

    def make() -> Release:
        release = Release(cluster, f"polka-tests-{next(numbers)}", TAG)
        release.make_namespace()
        made.append(release)
        return release

    yield make
    for release in made:
        release.delete_namespace()


@pytest.fixture(scope="session")
def postgres_tag(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a Postgres whose image declares the volume that official ones (up to 17) do: each container has its own."""
    folder = tmp_path_factory.mktemp("postgres")
    (folder / "Dockerfile").write_text("FROM postgres:17\nVOLUME /var/lib/postgresql/data\n")
    cluster.machines.load("postgres:17-with-volume", folder)
    return "17-with-volume"


@pytest.fixture(scope="module")
def polka(make_release: Callable[[], Release], postgres_tag: str) -> Iterator[Release]:
    """A release that is reached through a port of every node."""
    release = make_release()
    release.install(api__service__type="NodePort", postgres__image__tag=postgres_tag)
    yield release
    release.delete_namespace()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """With a failure, say what there was in the namespaces of the releases that the test used."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Release):
                report.sections.append((f"Namespace {value.namespace}", value.dump()))
    return report
