"""The cluster that KUBECONFIG names, as kubectl shows it."""

import json
from typing import Any

from cluster.commands import run
from cluster.machines import Machines


class Cluster:
    """Its objects and its nodes."""

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
