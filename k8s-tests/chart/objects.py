"""What is in rendered objects: the pods that there will be, and their containers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chart.rendering import Object

WITH_TEMPLATE = ("Deployment", "StatefulSet", "Job")
COMPONENT = "app.kubernetes.io/component"


@dataclass(frozen=True)
class Workload:
    """Whatever makes pods, a bare pod too: its labels are those of its pods."""

    name: str
    object: Object
    labels: dict[str, str]
    pod: Object

    @property
    def component(self) -> str:
        return self.labels[COMPONENT]

    def containers(self) -> list[Object]:
        """The containers that run to an end first, then the others."""
        return [*self.pod.get("initContainers", []), *self.pod["containers"]]


def name(found: Object) -> str:
    """For people: Deployment/polka-api."""
    return f"{found['kind']}/{found['metadata']['name']}"


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    return [found for found in objects if found["kind"] in kinds]


def workloads(objects: Iterable[Object]) -> Iterator[Workload]:
    for found in objects:
        if found["kind"] in WITH_TEMPLATE:
            template = found["spec"]["template"]
            yield Workload(name(found), found, template["metadata"]["labels"], template["spec"])
        elif found["kind"] == "Pod":
            yield Workload(name(found), found, found["metadata"]["labels"], found["spec"])


def selects(labels: dict[str, str], selector: Object) -> bool:
    """Whether a selector (`matchLabels`; an empty one takes all) takes what has these labels."""
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()
