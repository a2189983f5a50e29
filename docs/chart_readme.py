"""The README of the Helm chart, its tables made of the comments in values.yaml (`# -- …`, as helm-docs has them)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[1] / "charts" / "polka"
DEFAULT_LENGTH_MAX = 60
"""Of a displayed default. A longer default would make the table unreadable."""
ABOVE_ALL = "Release"
"""The heading over the values without a section."""

README = """\
# The Helm chart polka

Installs [Polka](../../README.md) on Kubernetes: api pods behind a Service, the ledger cache, a Postgres, and the
spammer if you like. [docs/kubernetes.md](../../docs/kubernetes.md) tells how it is used, from a first try with kind to
production.

```console
$ helm install polka charts/polka --namespace polka --create-namespace --wait
$ helm test polka --namespace polka
```

It needs Kubernetes {kubernetes} or later and Helm 4, or 3.19. All of its pods keep to the *restricted* Pod Security
Standard.

Passwords and keys are made once, where no Secret of yours is named, and kept by looking the Secret up in the cluster.
What renders charts without a cluster (`helm template`, Argo CD) cannot look, and would make new ones each time: name
Secrets of yours there (`secrets.existingSecret`, `postgres.existingSecret`).

An unknown value is refused, and so are values that contradict each other. Those that are maps or lists take what the
Kubernetes field takes that they stand for.
"""


@dataclass(frozen=True)
class Value:
    """One value of the chart: its names from the top, its default, and its comment."""

    path: tuple[str, ...]
    default: Any
    description: str

    @property
    def name(self) -> str:
        return ".".join(self.path)


def introduction() -> str:
    description = yaml.safe_load((CHART / "Chart.yaml").read_text())
    lowest = description["kubeVersion"].removeprefix(">=").removesuffix(".0-0")
    return README.format(kubernetes=lowest)


def sections() -> dict[str, list[tuple[str, str, str]]]:
    """The rows of each table, by its heading: the name of the section of its values."""
    tables: dict[str, list[tuple[str, str, str]]] = {}
    for value in values((CHART / "values.yaml").read_text()):
        heading = value.path[0] if len(value.path) > 1 else ABOVE_ALL
        tables.setdefault(heading, []).append((f"`{value.name}`", shown(value.default), value.description))
    return tables


def values(text: str) -> list[Value]:
    """All values of a values.yaml, in their order.

    Raises:
        ValueError: a value has no comment.
    """
    return list(described(yaml.compose(text), text.splitlines()))


def described(section: yaml.MappingNode, lines: list[str], above: tuple[str, ...] = ()) -> Iterator[Value]:
    for key, value in section.value:
        path = (*above, key.value)
        comment = comment_above(lines, key.start_mark.line)
        if comment:
            default = yaml.SafeLoader("").construct_object(value, deep=True)
            yield Value(path, default, comment)
        elif isinstance(value, yaml.MappingNode) and value.value:
            yield from described(value, lines, path)
        else:
            raise ValueError(f"values.yaml: {'.'.join(path)} has no comment `# -- …`.")


def comment_above(lines: list[str], line: int) -> str:
    """The comment directly above this line, if the comment is a description."""
    words: list[str] = []
    while line and (above := lines[line - 1].strip()).startswith("#"):
        words.insert(0, above.removeprefix("#").strip())
        line -= 1
    comment = " ".join(words)
    return comment.removeprefix("-- ") if comment.startswith("-- ") else ""


def shown(default: Any) -> str:
    """In the form of YAML."""
    text = json.dumps(default, ensure_ascii=False)
    return f"`{text}`" if len(text) <= DEFAULT_LENGTH_MAX else "see `values.yaml`"
