"""What several commands show: processes, windows, what clearing saves, an audit."""

from collections.abc import Iterable

from polka.audit.snapshot import Audit
from polka.command.terminal import amounts, say, show_table
from polka.local.up import Running
from polka.rules.netting import Netting
from polka.rules.windows import Report, Window

DIFFERENCES_SHOWN = 20


def show(running: Running) -> None:
    show_table(
        ("process", "pid", "address", "metrics and health"),
        (
            (process.name, str(process.pid or "-"), process.address, process.monitored_at or "-")
            for process in running.processes
        ),
    )
    say(f"Polka is at {running.layout.url}")


def show_window(window: Window) -> None:
    steps = [("opened", window.opened_at), ("closed", window.closed_at), ("settled", window.settled_at)]
    times = ", ".join(f"{step} {at:%Y-%m-%d %H:%M:%S}" for step, at in steps if at)
    scheduled = f", as scheduled for {window.scheduled_for:%Y-%m-%d %H:%M:%S}" if window.scheduled_for else ""
    say(f"Window {window.id} is {window.state}: {times} UTC{scheduled}")


def show_cleared(report: Report) -> None:
    show_window(report)
    show_netting(report.netting or [])


def show_netting(netting: Iterable[Netting]) -> None:
    """What would have to be paid, in minor units, and the part of it that clearing saves."""
    show_table(
        ("currency", "payment by payment", "pair by pair", "cleared", "saved"),
        ((one.currency, *amounts(one.gross, one.bilateral, one.multilateral), share(one)) for one in netting),
    )


def share(netting: Netting) -> str:
    """What is saved of the gross, in percent, rounded down: 99.9 % is not all."""
    tenths = 1000 * netting.saving // netting.gross
    return f"{tenths // 10}.{tenths % 10} %"


def show_audit(done: Audit) -> None:
    counts = done.counts
    say(
        f"Audit at flush {counts['flush']:,}: {counts['transactions']:,} transactions, {counts['banks']:,} banks, "
        f"{counts['accounts']:,} accounts, {counts['unposted']:,} unposted batches"
    )
    for check, differences in done.differences.items():
        say(f"  {'[red]FAILED[/]' if differences else '[green]holds[/] '}  {check}")
        for difference in differences[:DIFFERENCES_SHOWN]:
            amount = difference.found - difference.expected
            say(
                f"          {difference.subject}: {difference.found:,} instead of {difference.expected:,} ({amount:+,})"
            )
        if len(differences) > DIFFERENCES_SHOWN:
            say(f"          … and {len(differences) - DIFFERENCES_SHOWN:,} more")
    say("The audit is clean." if done.is_clean else "[red]The audit has failed.[/]")
