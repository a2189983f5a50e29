"""A Prometheus for tests: Debian's, scraping a real Polka, with the chart's rules."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from polka.local.demo import free_port
from services import wait_for
from waiting import WAIT_SECONDS

CHART = Path(__file__).parents[2] / "charts" / "polka"
RULES = sorted((CHART / "rules").glob("*.yaml"))
LABELS = {"namespace": "payments", "release": "polka"}
"""Of every target, as set by the chart's monitors."""
SCRAPE_SECONDS = 1


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`. Without the program the test is skipped."""
    return shutil.which(name) or pytest.skip(f"{name} is not installed: Debian has it in its package prometheus")


class Prometheus:
    """A running Prometheus that answers queries."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.Client(base_url=f"{url}/api/v1", trust_env=False, verify=False, timeout=WAIT_SECONDS)

    def ask(self, path: str, **parameters: str) -> Any:
        """The answer of its API, or its error message."""
        response = self.client.get(path, params=parameters)
        if response.is_server_error:  # still starting
            response.raise_for_status()
        answer = response.json()
        if answer["status"] != "success":
            raise AssertionError(f"{answer['error']}: {parameters}")
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The current series of the expression: `metric` has the labels and `value` is a float."""
        data = self.ask("query", query=expression)
        if data["resultType"] in ("scalar", "string"):
            return [{"metric": {}, "value": float(data["result"][1])}]
        return [{"metric": one["metric"], "value": float(one["value"][1])} for one in data["result"]]

    def targets(self) -> dict[str, str]:
        """The state of each target, by address: `up`, `down` or `unknown`."""
        return {one["labels"]["instance"]: one["health"] for one in self.ask("targets")["activeTargets"]}

    def alerts(self) -> dict[str, str]:
        """The pending or firing alerts, by name."""
        return {one["labels"]["alertname"]: one["state"] for one in self.ask("alerts")["alerts"]}

    def has_evaluated(self) -> bool:
        """Whether each of its rules was evaluated, without an error."""
        rules = [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]
        for rule in rules:
            assert rule["health"] != "err", f"{rule['name']}: {rule['lastError']}"
        return all(rule["health"] == "ok" for rule in rules)


@contextmanager
def running_prometheus(jobs: Mapping[str, Sequence[str]], rules: Sequence[Path] = RULES) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the addresses (`http://…`) of each job every second, after all targets are up."""
    binary = program("prometheus")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="polka-prometheus-") as name:
        folder = Path(name)
        config = folder / "prometheus.yaml"
        config.write_text(json.dumps(configuration(jobs, rules)))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    binary,
                    f"--config.file={config}",
                    f"--web.listen-address=127.0.0.1:{port}",
                    f"--storage.tsdb.path={folder / 'data'}",
                ],
                stdout=log,
                stderr=log,
            )
        try:
            prometheus = Prometheus(f"http://127.0.0.1:{port}")

            def is_up() -> bool:
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                targets = prometheus.targets()
                return bool(targets) and set(targets.values()) == {"up"}

            with prometheus.client:
                wait_for("Prometheus has scraped all targets", is_up)
                yield prometheus
        finally:
            process.kill()
            process.wait()


def configuration(jobs: Mapping[str, Sequence[str]], rules: Sequence[Path]) -> dict[str, Any]:
    """The configuration as JSON, which is YAML too."""
    return {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [
                    {"targets": [url.removeprefix("http://")], "labels": LABELS | {"pod": f"polka-{job}-{number}"}}
                    for number, url in enumerate(urls)
                ],
            }
            for job, urls in jobs.items()
        ],
    }
