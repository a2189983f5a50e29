"""A release of the chart in a namespace of its own, as its user handles it: helm, kubectl, the api's port."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import httpx
import yaml

from cluster.cluster import Cluster
from cluster.commands import CommandError, run, wait_for
from waiting import WAIT_SECONDS

TRANSACTIONS = re.compile(r'polka_http_requests_total\{method="POST",route="/transaction",status="\d+"\} (\S+)')
READ_METRICS = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8001/metrics').read().decode())"
"""From within the pod, because no policy lets the tests in at the port of metrics."""
ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "polka"
TAG = "tests"
"""Of the image that the tests build."""
OURS = "polka-tests=yes"
"""The label of the namespaces that the tests make."""
RESTRICTED = "pod-security.kubernetes.io"


class Release:
    """The release `polka` in one namespace."""

    def __init__(self, cluster: Cluster, namespace: str, tag: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.tag = tag

    def make_namespace(self) -> None:
        """One that lets only restricted pods in, where the server warns of others; what an earlier run left goes."""
        self.delete_namespace(wait=True)
        self.cluster.kubectl("create", "namespace", self.namespace)
        levels = [f"{RESTRICTED}/{mode}=restricted" for mode in ("enforce", "warn", "audit")]
        self.cluster.kubectl("label", "namespace", self.namespace, OURS, *levels)

    def delete_namespace(self, wait: bool = False) -> None:
        """Take it away, if the tests have made it."""
        ours = [f"--selector={OURS}", f"--field-selector=metadata.name={self.namespace}"]
        self.cluster.kubectl("delete", "namespace", *ours, f"--wait={str(wait).lower()}")

    def kubectl(self, *words: str, seconds: float = 300) -> str:
        return self.cluster.kubectl(f"--namespace={self.namespace}", *words, seconds=seconds)

    def get(self, *words: str) -> Any:
        return self.cluster.get(f"--namespace={self.namespace}", *words)

    def helm(self, *words: str, seconds: float = 300) -> str:
        """What helm prints, its warnings among it."""
        return run("sh", "-c", 'exec helm "$@" 2>&1', "helm", f"--namespace={self.namespace}", *words, seconds=seconds)

    def install(self, **values: object) -> str:
        return self.helm("install", "polka", str(CHART), "--wait", "--timeout=3m", *self._set(values))

    def upgrade(self, **values: object) -> str:
        """With the values that it has, and these."""
        words = ["upgrade", "polka", str(CHART), "--reset-then-reuse-values", "--wait", "--timeout=3m"]
        return self.helm(*words, *self._set(values))

    def template(self, *words: str, **values: object) -> str:
        """What the chart renders with these values, installed or not."""
        return self.helm("template", "polka", str(CHART), *words, *self._set(values))

    def _set(self, values: dict[str, object]) -> list[str]:
        """Options of helm: `spammer__maxWorkers=100` sets spammer.maxWorkers."""
        chosen = {"image__tag": self.tag, **values}
        return [f"--set-json={name.replace('__', '.')}={json.dumps(value)}" for name, value in chosen.items()]

    # ---- What runs

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Those of the component that nobody has told to end."""
        found = self.get("pods", f"--selector=app.kubernetes.io/component={component}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready_pods(self, component: str) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.pods(component) if is_ready(pod)]

    def node_of(self, component: str) -> str:
        return str(self.pods(component)[0]["spec"]["nodeName"])

    def starts(self) -> dict[str, int]:
        """The uid of every pod that has not ended, with how often its containers were started again."""
        return {
            pod["metadata"]["uid"]: sum(status["restartCount"] for status in pod["status"]["containerStatuses"])
            for pod in self.get("pods")
            if pod["status"]["phase"] == "Running"
        }

    # ---- What it says

    def secret(self, key: str, name: str = "polka-secrets") -> str:
        return base64.b64decode(self.get("secret", name)["data"][key]).decode()

    def client(self, node: str | None = None) -> httpx.Client:
        """To the api, through the Service's port on a node, with the operator's key."""
        port = self.get("service", "polka-api")["spec"]["ports"][0]["nodePort"]
        address = self.cluster.address(node or self.cluster.nodes()[0])
        headers = {"Authorization": f"Bearer {self.secret('operator-key')}"}
        return httpx.Client(base_url=f"http://{address}:{port}", headers=headers, timeout=5, trust_env=False)

    def sql(self, query: str) -> str:
        """What the release's own Postgres answers."""
        shell = ["psql", "--username=polka", "--tuples-only", "--no-align", f"--command={query}"]
        return self.kubectl("exec", "statefulset/polka-postgres", "--container=postgres", "--", *shell).strip()

    def audit(self) -> str:
        """What the audit prints, from within an api's pod; it has failed where this raises."""
        return self.kubectl("exec", self.ready_pods("api")[0], "--container=api", "--", "polka", "audit")

    def taken(self) -> dict[str, float]:
        """How many POST /transaction each api pod has answered since its start."""
        pages = {}
        for pod in self.ready_pods("api"):
            pages[pod] = self.kubectl("exec", pod, "--container=api", "--", "python", "-c", READ_METRICS)
        return {pod: sum(float(count) for count in TRANSACTIONS.findall(page)) for pod, page in pages.items()}

    def dump(self) -> str:
        """All that there is, what happened, and the end of every log: for whoever looks at a failure."""
        parts = [["get", "all,networkpolicies,persistentvolumeclaims", "--output=wide"]]
        parts += [["get", "events", "--sort-by=.lastTimestamp"]]
        parts += [
            ["logs", pod["metadata"]["name"], "--all-containers", "--prefix", "--tail=40"] for pod in self.get("pods")
        ]
        said = []
        for words in parts:
            try:
                said.append(self.kubectl(*words))
            except CommandError as error:
                said.append(str(error))
        return "\n".join(said)

    # ---- Load

    def spam(self, run: str, **values: object) -> "SpamJob":
        """Have a Job send payments: the upgrade that adds it changes nothing else."""
        self.helm("upgrade", "polka", str(CHART), "--reset-then-reuse-values", *self._spam(run, values))
        jobs = self.get("jobs", "--selector=app.kubernetes.io/component=spammer")
        return SpamJob(self, jobs[0]["metadata"]["name"], run)

    def spam_apart(self, run: str, **values: object) -> "SpamJob":
        """The same Job, but none of the release's: an upgrade does not change it. Its key is its own as well."""
        job = yaml.safe_load(self.template("--show-only=templates/spammer/job.yaml", *self._spam(run, values)))
        job["metadata"] = {"name": f"spam-{run}", "namespace": self.namespace}
        pod = job["spec"]["template"]
        pod["metadata"] = {}
        pod["spec"]["containers"][0]["env"] = [{"name": "POLKA_KEY", "value": self._new_key(f"spam-{run}")}]
        self.cluster.kubectl("apply", "--filename=-", stdin=json.dumps(job))
        return SpamJob(self, job["metadata"]["name"], run)

    def _new_key(self, name: str) -> str:
        """A new API key that may do what the spammer does."""
        scopes = ["transactions:write", "transactions:read", "banks:write"]
        with self.client() as client:
            made = client.post("/keys", json={"name": name, "scopes": scopes})
        made.raise_for_status()
        return str(made.json()["key"])

    def _spam(self, run: str, values: dict[str, object]) -> list[str]:
        chosen = {"spammer__enabled": True, "spammer__run": run}
        return self._set(chosen | {f"spammer__{name}": value for name, value in values.items()})


class SpamJob:
    """A Job of the spammer's, and what its log tells."""

    def __init__(self, release: Release, name: str, run: str) -> None:
        self.release = release
        self.name = name
        self.run = run

    def log(self) -> str:
        return self.release.kubectl("logs", f"job/{self.name}")

    def sent(self) -> int:
        """Payments that have ended by now."""
        lines = re.findall(r"(?m)^([\d,]+)(?: of [\d,]+)? +(?:[\d,]+/s|payments in) ", self.log())
        return number(lines[-1]) if lines else 0

    def wait_until_sent(self, count: int, seconds: float = WAIT_SECONDS) -> None:
        wait_for(f"{count} payments of {self.name} have ended", lambda: self.sent() >= count, seconds)

    def stop(self) -> str:
        """End a run that has no end of its own; its log."""
        self.release.kubectl("exec", f"job/{self.name}", "--", "python", "-c", "import os; os.kill(1, 15)")
        return self.ended()

    def ended(self, seconds: float = 300) -> str:
        """Its log, once it is complete; it has failed where this raises."""

        def status() -> Any:
            return self.release.get("job", self.name)["status"]

        wait_for(f"{self.name} ends", lambda: status().get("succeeded") or status().get("failed"), seconds)
        log = self.log()
        assert status().get("succeeded"), f"{self.name} failed:\n{log[-3000:]}"
        return log

    def stored(self) -> int:
        """Payments in the database that were sent under this run's keys."""
        keys = f"SELECT transaction FROM idempotency_keys WHERE key LIKE '{self.run}-%'"
        return int(self.release.sql(f"SELECT count(*) FROM transactions WHERE id IN ({keys})"))


def acknowledged(log: str) -> int:
    """Payments that the spammer was told are recorded."""
    return counted(log, "accepted")


def counted(log: str, outcome: str) -> int:
    """Payments that ended so."""
    found = re.search(rf"^ *([\d,]+)  {outcome}$", log, re.MULTILINE)
    assert found, log[-3000:]
    return number(found[1])


def number(text: str) -> int:
    return int(text.replace(",", ""))


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)
