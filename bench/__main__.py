"""`python -m bench`: runs all measurements, or the named ones, and writes the results."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import click
from rich.console import Console

from bench import (
    apis,
    before,
    bulk,
    capped,
    clearing,
    fairness,
    flushing,
    load,
    machine,
    memory,
    observed,
    overload,
    posting,
    reads,
    report,
    search,
    silent,
    start,
    stored,
)
from bench.report import Findings
from polka.local.up import Say
from polka.service.failure import Failure

Measure = Callable[[bool, Say], Awaitable[Findings | None]]
"""The findings, or None if the measurement is impossible here; a message gives the reason."""

MEASUREMENTS: dict[str, tuple[str, Measure]] = {
    "posting": (posting.TITLE, posting.measure),
    "apis": (apis.TITLE, apis.measure),
    "capped": (capped.TITLE, capped.measure),
    "observed": (observed.TITLE, observed.measure),
    "bulk": (bulk.TITLE, bulk.measure),
    "overload": (overload.TITLE, overload.measure),
    "fairness": (fairness.TITLE, fairness.measure),
    "silent": (silent.TITLE, silent.measure),
    "stored": (stored.TITLE, stored.measure),
    "reads": (reads.TITLE, reads.measure),
    "search": (search.TITLE, search.measure),
    "memory": (memory.TITLE, memory.measure),
    "flushing": (flushing.TITLE, flushing.measure),
    "start": (start.TITLE, start.measure),
    "clearing": (clearing.TITLE, clearing.measure),
    "before": (before.TITLE, before.measure),
}
UNLIMITED = {"POLKA_RATE_PER_SECOND": "1000000000", "POLKA_RATE_BURST": "1000000000"}
"""All payments have the same key, so its rate limit must not interfere."""
RESULTS = Path(__file__).with_name("RESULTS.md")

console = Console(highlight=False)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(list(MEASUREMENTS)))
@click.option("--quick", is_flag=True, help="Everything small, as a check of the bench itself.")
@click.option("--against", metavar="REVISION", help="What `before` compares with.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where results go.  [default: bench/RESULTS.md; with --quick nowhere]",
)
def main(names: tuple[str, ...], quick: bool, against: str | None, output: Path | None) -> None:
    """Measure Polka: all measurements, or the NAMED ones. Exit 1 if an audit fails.

    A missed target is shown, and is not an error, because the machine may be busy.
    """
    path = output or (None if quick else RESULTS)
    os.environ.update(UNLIMITED)
    if against:
        MEASUREMENTS["before"] = (f"`POST /transaction` against {against}", partial(before.measure, revision=against))
    try:
        load.program()
        is_clean = asyncio.run(measure(names or tuple(MEASUREMENTS), quick, path))
    except Failure as failure:
        raise click.ClickException(str(failure)) from None
    sys.exit(0 if is_clean else 1)


async def measure(names: tuple[str, ...], quick: bool, path: Path | None) -> bool:
    """Whether all audits were clean. Each section is written after its measurement."""
    is_clean = True
    for name in names:
        title, run = MEASUREMENTS[name]
        say(f"[bold]{name}[/]: {title}")
        others = machine.Others()
        findings = await run(quick, say)
        if findings is None:
            continue
        origin = f"{machine.origin()} · other programs took {others.cores():.2f} cores"
        section = report.section(title, origin + (" · **quick**" if quick else ""), findings)
        say(section)
        if path:
            report.replace(path, {title: section}, [title for title, _ in MEASUREMENTS.values()])
        is_clean = is_clean and findings.is_clean
    return is_clean


def say(text: str) -> None:
    console.print(text, soft_wrap=True)


if __name__ == "__main__":
    main()
