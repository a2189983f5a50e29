"""A Prometheus elsewhere in the cluster finds every pod by the chart's monitors, and gets through the policies."""

import json
from collections.abc import Callable, Iterator

import pytest

from cluster.cluster import Cluster
from cluster.commands import wait_for
from cluster.prometheus import Prometheus, build, services_of_metrics
from cluster.release import Release

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def watched(cluster: Cluster, make_release: Callable[[], Release]) -> Iterator[Release]:
    """A release that nobody but its Prometheus reaches."""
    release = make_release()
    release.install(**values(release))
    for service in services_of_metrics(release, values(release)):
        cluster.kubectl(f"--namespace={release.namespace}", "apply", "--filename=-", stdin=json.dumps(service))
    yield release
    release.delete_namespace()


@pytest.fixture(scope="module")
def prometheus(cluster: Cluster, watched: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    build(cluster, tmp_path_factory.mktemp("prometheus"))
    prometheus = Prometheus(watched)
    prometheus.start(values(watched))
    yield prometheus
    prometheus.stop()


def values(release: Release) -> dict[str, object]:
    space = {"kubernetes.io/metadata.name": Prometheus(release).namespace}
    return {
        "networkPolicy__apiFrom": [{"podSelector": {"matchLabels": {"may": "pay"}}}],
        "networkPolicy__metricsFrom": [{"namespaceSelector": {"matchLabels": space}}],
    }


def test_every_pod_is_found_and_scraped_through_the_policies(watched: Release, prometheus: Prometheus) -> None:
    """By the ServiceMonitors and by the PodMonitors alike: those of an api that came later, too."""
    watched.kubectl("scale", "deployment/polka-api", "--replicas=3")
    pods = wait_for("a third api is ready", lambda: three(watched))
    assert pods
    expected = {(kind, pod) for kind in ("ServiceMonitor", "PodMonitor") for pod in pods}

    def up() -> bool:
        found = {
            (target["scrapePool"].split("/")[0], target["labels"]["pod"])
            for target in prometheus.targets()
            if target["health"] == "up"
        }
        return found == expected

    wait_for(f"all {len(expected)} targets are up", up)
    assert {target["health"] for target in prometheus.targets()} == {"up"}
    for metric in ("polka_commit_payments_count", "polka_flush_seconds_count", "polka_build_info"):
        assert prometheus.query(metric), metric


def three(release: Release) -> list[str] | None:
    """The names of the pods that have metrics, once three apis are ready."""
    apis = release.ready_pods("api")
    return [*apis, *release.ready_pods("cache")] if len(apis) == 3 else None


def test_each_rule_of_the_chart_is_evaluated_and_none_fires_while_all_is_well(prometheus: Prometheus) -> None:
    def evaluated() -> bool:
        return all(rule["health"] == "ok" for rule in prometheus.rules())

    wait_for("all rules are evaluated", evaluated)
    assert prometheus.rules()
    assert [rule["name"] for rule in prometheus.rules() if rule.get("state") == "firing"] == []
