"""A Prometheus in the cluster, which discovers a release's pods as the operator would by the chart's monitors."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from cluster import discovery
from cluster.cluster import Cluster
from cluster.discovery import META, PORT, plain
from cluster.release import OURS, RESTRICTED, Release
from waiting import WAIT_SECONDS

IMAGE = "prometheus:tests"
DOCKERFILE = """
FROM python:3.13-slim AS package
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus
FROM python:3.13-slim
COPY --from=package /usr/bin/prometheus /usr/bin/prometheus
COPY discovery.py /
USER 65534
"""
"""Debian's package: nothing else is pulled."""
COMMAND = ["prometheus", "--config.file=/etc/polka/prometheus.yml", "--storage.tsdb.path=/data"]


class Prometheus:
    """One pod in a namespace of its own, which may list the pods of the release's namespace."""

    def __init__(self, release: Release) -> None:
        self.namespace = f"{release.namespace}-prometheus"
        self._release = release
        self._cluster = release.cluster

    def start(self, values: dict[str, object]) -> None:
        """Scrape what the chart's monitors choose with these values, and evaluate its rules."""
        found = monitors(self._release, values)
        config = {
            "global": {"evaluation_interval": "1s"},
            "rule_files": ["/etc/polka/rules.yml"],
            "scrape_configs": [job for one in found for job in scrape_jobs(one, self._release.namespace)],
        }
        rules = {"groups": groups(self._release)}
        files = {"prometheus.yml": yaml.safe_dump(config), "rules.yml": yaml.safe_dump(rules)}
        self._cluster.kubectl("apply", "--filename=-", stdin=json.dumps(self._objects(files)))
        self._kubectl("wait", "pod/prometheus", "--for=condition=Ready", f"--timeout={WAIT_SECONDS:.0f}s")

    def stop(self) -> None:
        self._cluster.kubectl("delete", "namespace", self.namespace, "--wait=false")

    def targets(self) -> list[dict[str, Any]]:
        """Those that it scrapes, each with its labels and `health`."""
        found: list[dict[str, Any]] = self._ask("targets", state="active")["activeTargets"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Of all groups, each with its `health` and, if it is an alert, its `state`."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that the expression finds now."""
        found: list[dict[str, Any]] = self._ask("query", query=expression)["result"]
        return found

    def _ask(self, path: str, **parameters: str) -> Any:
        proxy = f"/api/v1/namespaces/{self.namespace}/pods/prometheus:9090/proxy"
        return json.loads(self._kubectl("get", "--raw", f"{proxy}/api/v1/{path}?{urlencode(parameters)}"))["data"]

    def _kubectl(self, *words: str) -> str:
        return self._cluster.kubectl(f"--namespace={self.namespace}", *words)

    def _objects(self, files: dict[str, str]) -> dict[str, Any]:
        here = {"name": "prometheus", "namespace": self.namespace}
        there = {"name": "prometheus", "namespace": self._release.namespace}
        watched = [("", ["pods", "services"]), ("discovery.k8s.io", ["endpointslices"])]
        level = {f"{RESTRICTED}/enforce": "restricted"}
        restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        prometheus = {
            "name": "prometheus",
            "image": IMAGE,
            "command": COMMAND,
            "volumeMounts": [{"name": "config", "mountPath": "/etc/polka"}, {"name": "data", "mountPath": "/data"}],
            "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 9090}, "periodSeconds": 1},
            "securityContext": restricted,
        }
        discovers = {
            "name": "discovery",
            "image": IMAGE,
            "command": ["python", "/discovery.py"],
            "env": [{"name": "NAMESPACE", "value": self._release.namespace}],
            "securityContext": restricted,
        }
        pod = {
            "serviceAccountName": "prometheus",
            "containers": [prometheus, discovers],
            "volumes": [{"name": "config", "configMap": {"name": "prometheus"}}, {"name": "data", "emptyDir": {}}],
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "terminationGracePeriodSeconds": 0,
        }
        label, value = OURS.split("=")
        rbac = "rbac.authorization.k8s.io"
        items = [
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": self.namespace, "labels": {**level, label: value}},
            },
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": here},
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "Role",
                "metadata": there,
                "rules": [
                    {"apiGroups": [group], "resources": resources, "verbs": ["get", "list", "watch"]}
                    for group, resources in watched
                ],
            },
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": there,
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "prometheus"},
                "subjects": [{"kind": "ServiceAccount", **here}],
            },
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": here, "data": files},
            {"apiVersion": "v1", "kind": "Pod", "metadata": here, "spec": pod},
        ]
        return {"apiVersion": "v1", "kind": "List", "items": items}


def build(cluster: Cluster, folder: Path) -> None:
    """Have its image on every node."""
    (folder / "Dockerfile").write_text(DOCKERFILE)
    shutil.copy(discovery.__file__, folder)
    cluster.machines.load(IMAGE, folder)


def monitors(release: Release, values: dict[str, object]) -> list[dict[str, Any]]:
    """What the chart gives the operator, with either kind of monitor: there is none here to take it."""
    return [
        one
        for monitor in ("serviceMonitor", "podMonitor")
        for one in rendered(release, values | {f"monitoring__{monitor}__enabled": True})
        if one["kind"] in ("ServiceMonitor", "PodMonitor")
    ]


def services_of_metrics(release: Release, values: dict[str, object]) -> list[dict[str, Any]]:
    """The Services that the chart adds for ServiceMonitors. It renders both together, and there is no operator here."""
    objects = rendered(release, values | {"monitoring__serviceMonitor__enabled": True})
    return [one for one in objects if one["kind"] == "Service" and one["metadata"]["name"].endswith("-metrics")]


def groups(release: Release) -> list[dict[str, Any]]:
    """The groups of rules that the chart gives the operator, evaluated each second."""
    objects = rendered(release, {"monitoring__prometheusRule__enabled": True})
    return [
        {**group, "interval": "1s"}
        for one in objects
        if one["kind"] == "PrometheusRule"
        for group in one["spec"]["groups"]
    ]


def rendered(release: Release, values: dict[str, object]) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(release.template(**values)) if one]


def scrape_jobs(monitor: dict[str, Any], namespace: str) -> Iterator[dict[str, Any]]:
    """The jobs that the operator makes of a ServiceMonitor or a PodMonitor, with the labels that targets get."""
    kind, name, spec = monitor["kind"], monitor["metadata"]["name"], monitor["spec"]
    is_pods = kind == "PodMonitor"
    labels = "pod_label" if is_pods else "service_label"
    port = "pod_container_port_name" if is_pods else "endpointslice_port_name"
    chosen = [keep(f"{labels}_{plain(label)}", value) for label, value in spec["selector"]["matchLabels"].items()]
    told = {"namespace": "namespace", "pod": "pod_name", "container": "pod_container_name"}
    if not is_pods:
        told["service"] = "service_name"
    for endpoint in spec["podMetricsEndpoints" if is_pods else "endpoints"]:
        job = f"{namespace}/{name}" if is_pods else name
        yield {
            "job_name": f"{kind}/{namespace}/{name}",
            "metrics_path": endpoint["path"],
            "scrape_interval": "1s",
            "scrape_timeout": "1s",
            "http_sd_configs": [
                {"url": f"http://127.0.0.1:{PORT}/{'pod' if is_pods else 'endpointslice'}", "refresh_interval": "1s"}
            ],
            "relabel_configs": [
                *chosen,
                keep(port, endpoint["port"]),
                *({"source_labels": [META + source], "target_label": target} for target, source in told.items()),
                {"target_label": "job", "replacement": job},
                *(snake(one) for one in endpoint.get("relabelings", [])),
            ],
        }


def keep(source: str, value: str) -> dict[str, Any]:
    return {"action": "keep", "source_labels": [META + source], "regex": value}


def snake(relabeling: dict[str, Any]) -> dict[str, Any]:
    """As Prometheus has it: the operator's objects have the same fields in camel case."""
    return {
        {"sourceLabels": "source_labels", "targetLabel": "target_label"}.get(key, key): value
        for key, value in relabeling.items()
    }
