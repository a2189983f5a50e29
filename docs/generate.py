"""Writes the parts of the documentation that follow from the code (`make docs`). test_docs.py finds outdated parts."""

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec.inspect import (
    BoolType,
    EnumType,
    FloatType,
    IntType,
    Metadata,
    NoneType,
    StrType,
    Type,
    UnionType,
    type_info,
)
from msgspec.structs import FieldInfo

import chart_readme
import glossary_page
import metrics_table
from api import settings as api
from api.http.refusals import RETRY_AFTER_SECONDS, Refusal
from cache import settings as cache
from dashboards.grafana import Json
from dashboards.kubernetes import kubernetes
from dashboards.ledger import ledger
from dashboards.liquidity import liquidity
from dashboards.payments import payments
from polka.edge import server, tls
from polka.edge.bounds import Bounds
from polka.service import logs, traces
from polka.service.settings import variable

DOCS = Path(__file__).parent
CONSOLE = DOCS.parent / "src" / "api" / "console" / "static"
DASHBOARDS = chart_readme.CHART / "dashboards"
SHARED: tuple[type[msgspec.Struct], ...] = (Bounds, server.Settings, tls.Settings, logs.Settings, traces.Settings)
WRITTEN_BY = "<!-- Written by docs/generate.py: `make docs` writes this file again. -->"

SETTINGS = """\
# Settings

Each service reads its settings once, at its start, from environment variables. A wrong value ends the service with
one line that names the variable. `polka up` passes its own environment on, and sets `POLKA_DATABASE_URL`,
`POLKA_CACHE_URL` and `POLKA_CACHE_TOKEN` (to a random one, unless there is one) for what it starts. The commands that
use the database themselves (`polka migrate`, `polka wait`, `polka seed`, `polka audit`, `polka keys list`) read
`POLKA_DATABASE_URL` too; without it they use the Postgres of `polka up`. A password that the URL leaves out is that of
`PGPASSWORD`, as it is, where in a URL it would have to be escaped. Commands that use an api (`polka spam`,
`polka clearing`, `polka drill cache`) find the address and the key of your own `polka up`. `POLKA_URL` and `POLKA_KEY`
name another Polka and another key.
"""

PROBLEMS = """\
# Problems

The api answers a rejected request with a problem document (RFC 9457, `application/problem+json`): `type`, `title`,
`status`, `code`, `detail`, and `field` if a field is at fault. A `code` keeps its meaning for ever. A `detail` is
for people and may change. "Nothing was recorded" in a 503 or 504 is about this attempt alone. After an
`outcome_unknown`, the same request with the same `Idempotency-Key` returns the final result. The `Retry-After` of a 429
is the time of the next allowed request.
"""

METRICS = """\
# Metrics

Each process of api and cache serves its own metrics at `/metrics`, in the text format of Prometheus, on a port of its
own (`POLKA_METRICS_PORT`). The port asks for no key, so keep clients away from it. A page is rendered at most once a
second. `polka up` lists the addresses. In a cluster every pod is one process and the port is named `metrics`;
`monitoring.serviceMonitor.enabled=true`, or `podMonitor`, has a Prometheus operator scrape them. `polka spam
--metrics-port 9646` serves the spammer's: the process that shows the progress of a run has the counts of all its
processes and workers, from the run's begin.

Beside these each process serves what prometheus-client has of every one: `process_*` (processor time, memory, open
files, when it was started) and `python_gc_*`. Prometheus adds `up`. [dashboards.md](dashboards.md) has dashboards
over these metrics, and how to load them.

- A counter (`…_total`) begins at 0 with its process: ask for its `rate`. A series that has counted nothing yet may be
  missing.
- A histogram has `…_bucket`, `…_sum` and `…_count`.
- Gauges of the cache about the database (`polka_database_…`, `polka_windows`, `polka_window_open_seconds`,
  `polka_set_aside_batches`) are asked for every five seconds, those of balances and liquidity are counted as often.
  While the database does not answer they stay as they were.
- Names of banks are labels of the largest balances and of the nearest caps alone, so that the number of series stays
  bounded (`POLKA_METRICS_BANKS_MAX`).
"""


def main() -> None:
    for path, text in documents().items():
        path.write_text(text)


def documents() -> dict[Path, str]:
    """Each generated document, by its path."""
    return {
        DOCS / "settings.md": "\n".join((WRITTEN_BY, SETTINGS, settings_table())),
        DOCS / "metrics.md": "\n".join((WRITTEN_BY, METRICS, table(metrics_table.HEAD, metrics_table.rows()))),
        DOCS / "problems.md": "\n".join((WRITTEN_BY, PROBLEMS, problems_table())),
        chart_readme.CHART / "README.md": "\n".join((WRITTEN_BY, chart_readme.introduction(), *values_tables())),
        CONSOLE / "glossary.html": glossary_page.page((DOCS / "glossary.md").read_text()),
        **{DASHBOARDS / f"{name}.json": in_lines(content) for name, content in dashboards().items()},
    }


def dashboards() -> dict[str, Json]:
    """Each of Grafana's dashboards, by the name of its file."""
    return {"payments": payments(), "ledger": ledger(), "liquidity": liquidity(), "kubernetes": kubernetes()}


def in_lines(content: Json) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def settings_table() -> str:
    """One row a variable. If several services share a variable, the row names all of them."""
    services: dict[tuple[str, ...], dict[str, None]] = {}
    for service, own in (("api", (api.Settings, tls.CacheSettings)), ("cache", (cache.Settings,))):
        for field in itertools.chain.from_iterable(map(msgspec.structs.fields, (*own, *SHARED))):
            services.setdefault(setting(field), {})[service] = None
    rows = [(name, ", ".join(readers), *rest) for (name, *rest), readers in services.items()]
    return table(("Variable", "Read by", "Value", "Default", "What it does"), rows)


def setting(field: FieldInfo) -> tuple[str, str, str, str]:
    """The variable, its allowed values, its default, and its description."""
    match type_info(field.type):
        case Metadata(type=kind, extra_json_schema={"description": str(description)}):
            default = "must be set" if field.required else shown(field.default)
            return f"`{variable(field.name)}`", value(kind), default, description
    raise TypeError(f"{field.name} has no description")


def shown(default: object) -> str:
    """In the form of a setting."""
    return "none" if default is None else f"`{msgspec.json.encode(default).decode().strip(chr(34))}`"


def value(kind: Type) -> str:
    """The allowed values of a variable of this type."""
    match kind:
        case IntType() | FloatType():
            limits = {"above": kind.gt, "from": kind.ge, "below": kind.lt, "to": kind.le}
            words = [f"{word} {limit:,}" for word, limit in limits.items() if limit is not None]
            return " ".join(["whole number" if isinstance(kind, IntType) else "number", *words])
        case BoolType():
            return "`true` or `false`"
        case EnumType():
            *others, last = (f"`{one.value}`" for one in kind.cls)
            return f"{', '.join(others)} or {last}"
        case StrType():
            return f"text of {kind.min_length} characters or more" if kind.min_length else "text"
        case UnionType(types=[given, NoneType()]):
            return value(given)
    raise TypeError(f"say in words what a {kind} is")


def problems_table() -> str:
    rows = []
    for refusal in Refusal:
        kind, seconds = refusal.value, RETRY_AFTER_SECONDS.get(refusal)
        retry_after = f"{seconds} s" if seconds is not None else ""
        rows.append((f"`{kind.code}`", str(kind.status), f"{kind.title}.", retry_after))
    return table(("Code", "Status", "What it says", "`Retry-After`"), rows)


def values_tables() -> Iterator[str]:
    """One table a section of the chart's values."""
    for heading, rows in chart_readme.sections().items():
        yield f"## {heading}\n\n{table(('Value', 'Default', 'What it does'), rows)}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table, its columns as wide as their widest cell."""
    cells = [[cell.replace("|", r"\|") for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return "".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |\n" for row in cells
    )


if __name__ == "__main__":
    main()
