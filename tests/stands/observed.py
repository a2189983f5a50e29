"""A Polka under load, and a scraping Prometheus."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nursery import nursery_of
from polka.local.demo import free_port
from prometheus import Prometheus, running_prometheus
from running import Running
from services import KEY, client, wait_for

LOAD = (
    *("--rate=100", "--max-workers=10", "--transactions=1000000", "--mix=post=85,get=5,patch=5,delete=5"),
    *("--currencies=USD,EUR,JPY", "--across=0.1", "--terms=4", "--progress=none"),
)


@dataclass(frozen=True)
class Observed:
    """A Polka under load, the address of its spammer's metrics, and the Prometheus for all of them."""

    polka: Running
    spammer_url: str
    prometheus: Prometheus


@contextmanager
def observing(polka: Running, log: Path) -> Iterator[Observed]:
    """Payments of all kinds, a settled window, and an open window."""
    port = free_port()
    words = ["spam", f"--url={polka.url}", f"--metrics-port={port}", *LOAD]
    spammer = nursery_of("spam").fork(words, {**os.environ, "POLKA_KEY": KEY}, log)
    spammer_url = f"http://127.0.0.1:{port}"
    urls = {
        "api": [api.metrics_url for api in polka.apis],
        "cache": [polka.cache.metrics_url],
        "spammer": [spammer_url],
    }
    try:
        with running_prometheus({f"polka-{service}": its for service, its in urls.items()}) as prometheus:
            wait_for("payments flow", lambda: prometheus.query("sum(rate(polka_posted_batches_total[1m])) > 0"))
            for step in ("", "/1/settle"):
                client.post(f"{polka.url}/clearing{step}", json={"window": 1}).raise_for_status()
            wait_for("the rules are evaluated", prometheus.has_evaluated)
            yield Observed(polka, spammer_url, prometheus)
            assert spammer.poll() is None, log.read_text()[-2000:]
    finally:
        spammer.kill()
        spammer.wait()
