"""*Kubernetes resources*: whether pods run, and how much of processors, memory, disks and network they use."""

from dashboards.grafana import Json, bars, choice, dashboard, figure, lines, row
from dashboards.queries import OURS, RANGE
from dashboards.variables import variables

NAMESPACE = 'namespace=~"$namespace"'
PODS = f'{NAMESPACE}, pod=~"($name)-(api|cache|postgres|migrate|spammer).*"'
CONTAINERS = f'{PODS}, container!="", container!="POD"'
"""Of cAdvisor's series, only those of single containers, without sums over a pod and without pause containers."""
VOLUMES = f'{NAMESPACE}, persistentvolumeclaim=~"data-($name)-postgres-.*"'


def kubernetes() -> Json:
    return dashboard(
        "polka-kubernetes",
        "Polka: Kubernetes resources",
        "Whether Polka's pods run, and what they use of what they may. It needs a Prometheus that scrapes, besides "
        "Polka, kube-state-metrics (kube_…), the kubelets (kubelet_…, /metrics) and their cAdvisor (container_…, "
        "/metrics/cadvisor), with the labels namespace and pod being those of the pod that is told of, as "
        "kube-prometheus-stack has them. Without those it stays empty.",
        variables(
            choice(
                "name",
                "Name of the release's objects",
                f"label_values(polka_epoch{{{OURS}}}, pod)",
                part="/^(.+)-cache-[0-9]+$/",
                everything=None,
                hidden=True,
            )
        ),
        row(
            "Does everything run?",
            figure(
                "Pods that are not ready",
                f'sum(kube_pod_status_ready{{{PODS}, condition!="true"}} * on (namespace, pod) group_left ()'
                f' (kube_pod_status_phase{{{PODS}, phase=~"Pending|Running|Unknown"}} == 1))',
                "short",
                "Pods that have not ended and are not ready. A pod that starts or stops is not ready for some seconds.",
                steps=[(1, "orange")],
            ),
            figure(
                "Apis that are available",
                f"{of_deployments('kube_deployment_status_replicas_available')}"
                f" / {of_deployments('kube_deployment_spec_replicas')}",
                "percentunit",
                "Of the api pods that are wanted, those that are available. Below 100 % for longer than a rollout, "
                "look at the pods below.",
            ),
            figure(
                "Restarts in the last hour",
                f"sum(increase(kube_pod_container_status_restarts_total{{{PODS}}}[1h]))",
                "short",
                "Containers that ended and were started again within their pods. Nothing is lost by it; many of them "
                "are a reason to look at logs.",
                steps=[(1, "orange"), (5, "red")],
            ),
            figure(
                "Out of memory",
                f'sum(kube_pod_container_status_last_terminated_reason{{{PODS}, reason="OOMKilled"}})'
                f" or 0 * sum(kube_pod_container_status_restarts_total{{{PODS}}})",
                "short",
                "Containers that were killed for the memory they used when they last ended.",
                steps=[(1, "red")],
            ),
            figure(
                "Jobs that failed",
                f'sum(kube_job_status_failed{{{NAMESPACE}, job_name=~"($name)-(migrate|spammer).*"}})',
                "short",
                "Pods of migrations and of runs of the spammer that ended badly. A migration that fails holds up an "
                "upgrade.",
                steps=[(1, "red")],
            ),
            figure(
                "Fullest volume",
                f"max(kubelet_volume_stats_used_bytes{{{VOLUMES}}} / kubelet_volume_stats_capacity_bytes{{{VOLUMES}}})",
                "percentunit",
                "How full the volume of the chart's own Postgres is. When it is full, Postgres stops, and no payment "
                "is taken.",
                steps=[(0.75, "orange"), (0.9, "red")],
                runbooks=["PolkaDatabaseDiskFilling"],
            ),
        ),
        row(
            "Pods",
            lines(
                "Api pods",
                [
                    (of_deployments("kube_deployment_spec_replicas"), "wanted"),
                    (of_deployments("kube_deployment_status_replicas_available"), "available"),
                    (
                        "sum(kube_horizontalpodautoscaler_spec_max_replicas"
                        f'{{{NAMESPACE}, horizontalpodautoscaler=~"($name)-api"}})',
                        "most that the autoscaler may start",
                    ),
                ],
                "short",
                "Api pods that are wanted and available. At the autoscaler's most, more load makes payments wait.",
                runbooks=["PolkaQueueNearlyFull", "PolkaLatencyBurning"],
            ),
            lines(
                "Restarts",
                [(f"sum by (pod) (increase(kube_pod_container_status_restarts_total{{{PODS}}}[{RANGE}]))", "{{pod}}")],
                "short",
                "Containers that were started again, by pod.",
            ),
            lines(
                "Waiting containers",
                [
                    (
                        f"sum by (pod, reason) (kube_pod_container_status_waiting_reason{{{PODS}}})",
                        "{{pod}}: {{reason}}",
                    )
                ],
                "short",
                "Containers that are not started, by pod and reason: an image that is not to be had, a container that "
                "ends again and again. Empty when all is well.",
            ),
        ),
        row(
            "Processors",
            lines(
                "Cores in use",
                [(f"sum by (pod) (rate(container_cpu_usage_seconds_total{{{CONTAINERS}}}[{RANGE}]))", "{{pod}}")],
                "short",
                "Processor time, in cores. An api is one process and uses one core at most: near one, it takes no more "
                "payments, and more api pods do.",
                steps=[(0.9, "orange")],
            ),
            lines(
                "Cores in use, of those requested",
                [
                    (
                        f"sum by (pod) (rate(container_cpu_usage_seconds_total{{{CONTAINERS}}}[{RANGE}]))"
                        f' / sum by (pod) (kube_pod_container_resource_requests{{{PODS}, resource="cpu"}})',
                        "{{pod}}",
                    )
                ],
                "percentunit",
                "Above 100 % a pod uses what the node happens to have left. The autoscaler goes by this figure of the "
                "api pods.",
                steps=[(1, "orange")],
            ),
            lines(
                "Throttled",
                [
                    (
                        f"sum by (pod) (rate(container_cpu_cfs_throttled_periods_total{{{CONTAINERS}}}[{RANGE}]))"
                        f" / sum by (pod) (rate(container_cpu_cfs_periods_total{{{CONTAINERS}}}[{RANGE}]))",
                        "{{pod}}",
                    )
                ],
                "percentunit",
                "The share of periods in which a container was held up by its processor limit: it shows as latency. "
                "Empty where no container has such a limit, as in the chart's defaults.",
                steps=[(0.25, "orange")],
                runbooks=["PolkaLatencyBurning"],
            ),
        ),
        row(
            "Memory",
            lines(
                "Memory in use",
                [(f"sum by (pod) (container_memory_working_set_bytes{{{CONTAINERS}}})", "{{pod}}")],
                "bytes",
                "What a pod holds and cannot give back. That of api and cache does not grow with payments that are "
                "stored.",
            ),
            lines(
                "Memory in use, of its limit",
                [
                    (
                        f"sum by (pod) (container_memory_working_set_bytes{{{CONTAINERS}}})"
                        f' / sum by (pod) (kube_pod_container_resource_limits{{{PODS}, resource="memory"}})',
                        "{{pod}}",
                    )
                ],
                "percentunit",
                "At 100 % the container is killed. Nothing is lost by that, and payments wait until it is back.",
                steps=[(0.8, "orange"), (0.95, "red")],
            ),
            bars(
                "Memory in use, at most",
                [
                    (
                        "sort_desc(max by (pod) (max_over_time("
                        f"container_memory_working_set_bytes{{{CONTAINERS}}}[$__range])))",
                        "{{pod}}",
                    )
                ],
                "bytes",
                "The most that the largest container of a pod held in the time that is shown: by this limits are "
                "chosen.",
            ),
        ),
        row(
            "Disk and network",
            lines(
                "Volume of Postgres",
                [
                    (f"sum by (persistentvolumeclaim) (kubelet_volume_stats_used_bytes{{{VOLUMES}}})", "used"),
                    (f"sum by (persistentvolumeclaim) (kubelet_volume_stats_capacity_bytes{{{VOLUMES}}})", "capacity"),
                    (
                        "sum by (persistentvolumeclaim)"
                        f" (predict_linear(kubelet_volume_stats_used_bytes{{{VOLUMES}}}[6h], 4 * 86400))",
                        "used in four days, at the pace of six hours",
                    ),
                ],
                "bytes",
                "The volume of the chart's own Postgres. A payment takes about 800 bytes, with its indexes.",
                runbooks=["PolkaDatabaseDiskFilling"],
            ),
            lines(
                "Received",
                [(f"sum by (pod) (rate(container_network_receive_bytes_total{{{PODS}}}[{RANGE}]))", "{{pod}}")],
                "Bps",
                "Bytes that reached a pod, a second.",
            ),
            lines(
                "Sent",
                [(f"sum by (pod) (rate(container_network_transmit_bytes_total{{{PODS}}}[{RANGE}]))", "{{pod}}")],
                "Bps",
                "Bytes that left a pod, a second.",
            ),
        ),
    )


def of_deployments(metric: str) -> str:
    return f'sum({metric}{{{NAMESPACE}, deployment=~"($name)-api"}})'
