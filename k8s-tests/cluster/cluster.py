"""A real cluster as the tests see it: kubectl, helm, its nodes, and whoever makes images and cuts power for it."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "polka"
TOOL = "POLKA_CLUSTER_TOOL"
"""Names a program that does `image TAG CONTEXT`, `kill NODE` and `start NODE` for the cluster of KUBECONFIG."""
KIND_CLUSTER = "polka-tests"


class CommandError(AssertionError):
    """A command that failed, with all that it said."""


def run(*command: str | Path, stdin: str | None = None, seconds: float = 300, env: dict[str, str] | None = None) -> str:
    """What the command prints.

    Raises:
        CommandError: it does not end with 0.
    """
    words = [str(word) for word in command]
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, timeout=seconds, env={**os.environ, **(env or {})}
    )
    if done.returncode:
        raise CommandError(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def wait_for(what: str, condition: Callable[[], T], seconds: float = 120) -> T:
    """The condition's value once it is true. A command that fails is one that does not succeed yet."""
    deadline = time.monotonic() + seconds
    while True:
        last = ""
        try:
            if value := condition():
                return value
        except (CommandError, OSError, subprocess.TimeoutExpired) as error:
            last = f": {error}"
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:.0f} s{last}")
        time.sleep(0.2)


class Machines(Protocol):
    """Whoever runs the cluster's nodes."""

    def load(self, tag: str, context: Path, *options: str) -> None:
        """Build the image of a folder and have it on every node."""

    def kill(self, node: str) -> None:
        """Cut its power: all that runs there is gone at once, its disk stays."""

    def start(self, node: str) -> None:
        """And back."""


class Tool:
    """A program of the cluster's own."""

    def __init__(self, program: str) -> None:
        self._program = program

    def load(self, tag: str, context: Path, *options: str) -> None:
        run(self._program, "image", tag, context, *options, seconds=900)

    def kill(self, node: str) -> None:
        run(self._program, "kill", node)

    def start(self, node: str) -> None:
        run(self._program, "start", node)


class Kind:
    """A cluster of kind's: its nodes are containers."""

    def load(self, tag: str, context: Path, *options: str) -> None:
        run("docker", "build", "--tag", tag, *options, context, seconds=900)
        run("kind", "load", "docker-image", tag, "--name", KIND_CLUSTER)

    def kill(self, node: str) -> None:
        run("docker", "kill", node)

    def start(self, node: str) -> None:
        run("docker", "start", node)


class Cluster:
    """The cluster that KUBECONFIG names."""

    def __init__(self, machines: Machines) -> None:
        self.machines = machines

    def kubectl(self, *words: str, stdin: str | None = None, seconds: float = 300) -> str:
        return run("kubectl", *words, stdin=stdin, seconds=seconds)

    def get(self, *words: str) -> Any:
        """The object, or the list of objects, that `kubectl get` finds."""
        found = json.loads(self.kubectl("get", *words, "--output=json"))
        return found["items"] if found.get("kind") == "List" else found

    def nodes(self) -> list[str]:
        """Those that run pods of everybody's."""
        return [node["metadata"]["name"] for node in self.get("nodes") if not node["spec"].get("taints")]

    def address(self, node: str) -> str:
        """Where the node is reached from here."""
        addresses = self.get("node", node)["status"]["addresses"]
        return next(str(found["address"]) for found in addresses if found["type"] == "InternalIP")

    def is_ready(self, node: str) -> bool:
        conditions = self.get("node", node)["status"]["conditions"]
        return any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)


def machines() -> Machines | None:
    """Whoever runs the cluster of KUBECONFIG; kind makes one if there is none. None where there is nobody."""
    if program := os.environ.get(TOOL):
        return Tool(program)
    if os.environ.get("KUBECONFIG") and shutil.which("docker") and shutil.which("kind"):
        return Kind()
    if shutil.which("kind"):
        make_kind_cluster()
        return Kind()
    return None


def make_kind_cluster() -> None:
    """Two nodes that run pods, for this process and its children."""
    worker = "- role: worker\n"
    config = f"kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n{worker}{worker}"
    kubeconfig = Path(os.environ.get("TMPDIR", "/tmp")) / f"{KIND_CLUSTER}.kubeconfig"
    os.environ["KUBECONFIG"] = str(kubeconfig)
    if KIND_CLUSTER not in run("kind", "get", "clusters").split():
        run("kind", "create", "cluster", "--name", KIND_CLUSTER, "--config=-", "--wait=3m", stdin=config, seconds=600)
    kubeconfig.write_text(run("kind", "get", "kubeconfig", "--name", KIND_CLUSTER))
