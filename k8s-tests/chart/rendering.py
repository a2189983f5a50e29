"""Renders the chart as Helm does, without a cluster and without a network."""

import copy
import functools
import itertools
import json
import os
import pickle
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from chart.tools import helm

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "polka"
DESCRIPTION = yaml.safe_load((CHART / "Chart.yaml").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
SCENARIOS = {
    path.name.removesuffix("-values.yaml"): yaml.safe_load(path.read_text())
    for path in sorted((CHART / "ci").glob("*-values.yaml"))
}
OLDEST = DESCRIPTION["kubeVersion"].removeprefix(">=").removesuffix("-0")
"""The lowest Kubernetes that the chart is for."""
NEWEST = kubernetes_validate.latest_version()
"""The highest whose schemas are known."""

Object = dict[str, Any]
Values = dict[str, Any]

HELMS = (4, 3)
"""The versions of Helm that the chart is for, the first one first."""
COMBINATIONS = list(itertools.product(SCENARIOS, (OLDEST, NEWEST), HELMS))
"""Whatever is said of the chart must hold in each."""


class RefusedError(Exception):
    """What Helm says where it does not render."""


@dataclass(frozen=True)
class Rendered:
    """The objects of a release, all values that they were made with, and the Kubernetes that they are for."""

    objects: list[Object]
    values: Values
    kubernetes: str

    def copy(self) -> "Rendered":
        return copy.deepcopy(self)


Render = Callable[[str, str, int], Rendered]
"""Renders a scenario for a version of Kubernetes by a version of Helm."""


class Helm:
    """One version of Helm, with folders of its own."""

    def __init__(self, major: int, home: Path) -> None:
        self._program = helm(major)
        self._environ = {
            "PATH": os.defpath,
            "HOME": str(home),
            "KUBECONFIG": os.devnull,
            "GOGC": "off",  # it ends before it would need its memory again
            **{f"HELM_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")},
        }

    def template(
        self,
        values: Values,
        kubernetes: str = NEWEST,
        chart: Path = CHART,
        release: str = "polka",
        options: Sequence[str] = (),
    ) -> Rendered:
        """What `helm template` makes of these values on top of the chart's own.

        Raises:
            RefusedError: it makes nothing of them.
        """
        words = ["template", release, str(chart), "--values=-", f"--kube-version={kubernetes}", *options]
        manifest = self.run(*words, values=values)
        objects = [found for text in manifest.split("\n---\n") for found in pickle.loads(pickled(text)) if found]
        return Rendered(objects, merged(DEFAULTS, values), kubernetes)

    def run(self, *words: str, values: Values) -> str:
        """What Helm prints; `--values=-` stands for these values.

        Raises:
            RefusedError: it fails.
        """
        done = subprocess.run(
            [self._program, *words], input=json.dumps(values), capture_output=True, text=True, env=self._environ
        )
        if done.returncode:
            raise RefusedError(done.stdout + done.stderr)
        return done.stdout


@functools.cache
def pickled(text: str) -> bytes:
    """The documents of a text, pickled. Two renderings share most of their texts, and YAML is slow to read."""
    return pickle.dumps(list(yaml.load_all(text, Loader=yaml.CSafeLoader)))


def merged(defaults: Any, changes: Any) -> Any:
    """Values on top of values, as Helm does it: maps are merged, null takes away, all else stands in place."""
    if not isinstance(defaults, dict) or not isinstance(changes, dict):
        return copy.deepcopy(changes)
    kept = {key: value for key, value in defaults.items() if key not in changes}
    changed = {key: merged(defaults.get(key), value) for key, value in changes.items() if value is not None}
    return copy.deepcopy(kept) | changed
