"""A Prometheus as a test starts it: Debian's, scraping a real Polka, with the chart's rules."""

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
"""Of every target, as the chart's monitors give them."""
SCRAPE_SECONDS = 1


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`; a test that needs it is skipped where it is not installed."""
    return shutil.which(name) or pytest.skip(f"{name} is not installed: Debian has it in its package prometheus")


class Prometheus:
    """One that runs, and answers queries."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.Client(base_url=f"{url}/api/v1", trust_env=False, verify=False, timeout=WAIT_SECONDS)

    def ask(self, path: str, **parameters: str) -> Any:
        """What its API answers, or its own words about what is wrong with the question."""
        response = self.client.get(path, params=parameters)
        if response.is_server_error:  # it starts
            response.raise_for_status()
        answer = response.json()
        if answer["status"] != "success":
            raise AssertionError(f"{answer['error']}: {parameters}")
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that the expression gives now: `metric` has the labels and `value` is a float."""
        data = self.ask("query", query=expression)
        if data["resultType"] in ("scalar", "string"):
            return [{"metric": {}, "value": float(data["result"][1])}]
        return [{"metric": one["metric"], "value": float(one["value"][1])} for one in data["result"]]

    def targets(self) -> dict[str, str]:
        """By address how each target is: `up`, `down` or `unknown`."""
        return {one["labels"]["instance"]: one["health"] for one in self.ask("targets")["activeTargets"]}

    def alerts(self) -> dict[str, str]:
        """By name the alerts that are pending or firing."""
        return {one["labels"]["alertname"]: one["state"] for one in self.ask("alerts")["alerts"]}

    def has_evaluated(self) -> bool:
        """Whether each of its rules was evaluated, without an error."""
        rules = [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]
        for rule in rules:
            assert rule["health"] != "err", f"{rule['name']}: {rule['lastError']}"
        return all(rule["health"] == "ok" for rule in rules)


@contextmanager
def running_prometheus(jobs: Mapping[str, Sequence[str]], rules: Sequence[Path] = RULES) -> Iterator[Prometheus]:
    """One that scrapes the addresses (`http://…`) of each job every second, once all of them are up."""
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
    """As Prometheus reads it; JSON is YAML."""
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
