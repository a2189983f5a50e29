"""Monitors against the labels by which alerts and dashboards find Polka's targets, and tell its releases apart."""

from collections.abc import Iterator

from chart.objects import COMPONENT, name, of_kind
from chart.rendering import Rendered


def faults(rendered: Rendered) -> Iterator[str]:
    for monitor in of_kind(rendered.objects, "ServiceMonitor", "PodMonitor"):
        labels = monitor["metadata"]["labels"]
        wanted = {"job": f"polka-{labels[COMPONENT]}", "release": labels["app.kubernetes.io/instance"]}
        spec = monitor["spec"]
        for endpoint in spec.get("endpoints", []) + spec.get("podMetricsEndpoints", []):
            given = {rule["targetLabel"]: rule["replacement"] for rule in endpoint.get("relabelings", [])}
            yield from (
                f"{name(monitor)}: its targets' {label} is {given.get(label)}, not {value}"
                for label, value in wanted.items()
                if given.get(label) != value
            )
