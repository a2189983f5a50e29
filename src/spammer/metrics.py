"""The spammer's metrics: the tally of all processes of a run, served by the process that shows the progress."""

from collections.abc import Callable, Iterator

from prometheus_client import REGISTRY, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from spammer.tally import SECONDS, Tally


class Spammed(Collector):
    """The requests of the newest run."""

    def __init__(self, total: Callable[[], Tally], users: Callable[[], int]) -> None:
        self._total = total
        self._users = users

    def collect(self) -> Iterator[Metric]:
        total = self._total()
        requests = CounterMetricFamily(
            "polka_spam_requests", "Requests of the run, by what became of them.", labels=["operation", "outcome"]
        )
        for name, count in total.requests.items():
            requests.add_metric(name.split(), count)
        yield requests
        seconds = HistogramMetricFamily(
            "polka_spam_request_seconds", "Time from a request to its answer, or to its failure.", labels=["operation"]
        )
        for operation, microseconds in total.microseconds.items():
            seconds.add_metric([operation], list(buckets(total, operation)), microseconds / 1_000_000)
        yield seconds
        yield GaugeMetricFamily("polka_spam_users", "Clients that pay at the moment.", self._users())


def buckets(total: Tally, operation: str) -> Iterator[tuple[str, int]]:
    """The number of requests within each number of seconds."""
    count = 0
    for place, bound in enumerate((*(str(float(bound)) for bound in SECONDS), "+Inf")):
        count += total.times[f"{operation} {place}"]
        yield bound, count


def serve(host: str, port: int, total: Callable[[], Tally], users: Callable[[], int]) -> None:
    """Answer at /metrics from now on."""
    REGISTRY.register(Spammed(total, users))
    start_http_server(port, host)
