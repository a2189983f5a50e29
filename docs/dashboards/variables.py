"""The choices of every dashboard: a Prometheus, a namespace, a release."""

from dashboards.grafana import Json, choice, constant, datasource

RUNBOOKS = "docs/runbooks"
"""Where runbooks are; the chart puts its value there."""


def variables(*more: Json) -> list[Json]:
    return [
        datasource(),
        choice("namespace", "Namespace", "label_values(polka_build_info, namespace)"),
        choice("release", "Release", 'label_values(polka_build_info{namespace=~"$namespace"}, release)'),
        *more,
        constant("runbooks", RUNBOOKS),
    ]
