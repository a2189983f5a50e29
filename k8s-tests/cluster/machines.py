"""Whoever runs the cluster's nodes: builds images for them, and cuts their power."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Protocol

from cluster.commands import run

TOOL = "POLKA_CLUSTER_TOOL"
"""Names a program that does `image TAG CONTEXT`, `kill NODE` and `start NODE` for the cluster of KUBECONFIG."""
KIND_CLUSTER = "polka-tests"


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


def machines() -> Machines | None:
    """Whoever runs the cluster of KUBECONFIG, or of kind where that names none. None where there is nobody."""
    if program := os.environ.get(TOOL):
        return Tool(program)
    if os.environ.get("KUBECONFIG") or not shutil.which("kind"):
        return None
    make_kind_cluster()
    return Kind()


def make_kind_cluster() -> None:
    """Two nodes that run pods, for this process and its children."""
    worker = "- role: worker\n"
    config = f"kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n{worker}{worker}"
    kubeconfig = Path(tempfile.gettempdir()) / f"{KIND_CLUSTER}.kubeconfig"
    os.environ["KUBECONFIG"] = str(kubeconfig)
    if KIND_CLUSTER not in run("kind", "get", "clusters").split():
        run("kind", "create", "cluster", "--name", KIND_CLUSTER, "--config=-", "--wait=3m", stdin=config, seconds=600)
    kubeconfig.write_text(run("kind", "get", "kubeconfig", "--name", KIND_CLUSTER))
