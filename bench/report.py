"""bench/RESULTS.md: a section for each measurement. A run replaces the sections of its measurements."""

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from statistics import median

import msgspec

from bench.stand import Proof

HEADER = """\
# What Polka measures

Written by `make bench`; `make bench BENCH="posting --quick"` chooses measurements by name. Compare ratios, not rates:
both sides of a ratio are measured in the same run, in turn, on the same machine, and what else runs there (wrk itself,
Postgres and the cache beside the api) takes its share of the cores from both. wrk keeps to one core. Other programs
take more from the side that has more processes; how many cores they took is said with each measurement. A figure is the
median of its rounds, with the lowest and the highest beside it; a ratio is taken round by round. After its load each
database is audited: every balance is recomputed from the transactions.
"""


class Bound(Enum):
    AT_LEAST = "≥"
    AT_MOST = "≤"


class Target(msgspec.Struct, frozen=True):
    """The bound for a figure's median."""

    bound: Bound
    value: float
    unit: str = ""

    def is_met_by(self, value: float) -> bool:
        return value >= self.value if self.bound is Bound.AT_LEAST else value <= self.value

    def __str__(self) -> str:
        return f"{self.bound.value} {self.value:g}{self.unit}"


class Figure(msgspec.Struct, frozen=True):
    """A figure that was measured several times."""

    name: str
    values: Sequence[float]
    unit: str = ""
    target: Target | None = None

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def is_met(self) -> bool:
        return self.target is None or self.target.is_met_by(self.median)

    def row(self) -> str:
        spread = f"{number(min(self.values))} – {number(max(self.values))}"
        target = f"{self.target}: {'met' if self.is_met else '**missed**'}" if self.target else ""
        return f"| {self.name} | {number(self.median)}{self.unit} | {spread} | {target} |"


class Findings(msgspec.Struct, frozen=True):
    """The results of a measurement. `conditions` describes the set-up."""

    conditions: str
    figures: Sequence[Figure]
    proofs: Sequence[Proof]

    @property
    def is_clean(self) -> bool:
        return not any(proof.failed for proof in self.proofs)


def section(title: str, origin: str, findings: Findings) -> str:
    """The findings as Markdown. `origin` is the time and place."""
    lines = [
        f"## {title}",
        "",
        origin,
        "",
        findings.conditions,
        "",
        "| | Median | Lowest – highest | Target |",
        "| --- | ---: | ---: | --- |",
        *(figure.row() for figure in findings.figures),
        "",
        *(f"{proof}  " for proof in findings.proofs),
    ]
    return "\n".join(lines).rstrip() + "\n"


def replace(path: Path, sections: Mapping[str, str], order: Sequence[str]) -> None:
    """Write the sections, by title, into the file, in this order. Other sections in the file stay."""
    kept = read(path) if path.exists() else {}
    all_sections = kept | dict(sections)
    titles = sorted(all_sections, key=lambda title: order.index(title) if title in order else len(order))
    path.write_text("\n".join([HEADER, *(all_sections[title] for title in titles)]))


def read(path: Path) -> dict[str, str]:
    """The file's sections by title."""
    parts = re.split(r"^## (.+)\n", path.read_text(), flags=re.MULTILINE)[1:]
    return {title: f"## {title}\n{body.rstrip()}\n" for title, body in zip(parts[::2], parts[1::2], strict=True)}


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
