"""Shared output of commands: processes, windows, the saving by clearing, an audit."""

import os
from collections.abc import Iterable, Iterator
from itertools import zip_longest

from rich.markup import escape

from polka.audit.checks import currency_of
from polka.audit.snapshot import Audit, Difference
from polka.command.terminal import say, show_table, time_of
from polka.local.up import Running
from polka.rules.money import figure
from polka.rules.netting import Netting
from polka.rules.transactions import POLKA
from polka.rules.windows import Report, Window

DIFFERENCES_SHOWN = 20
LARGEST = 3


def show(running: Running) -> None:
    show_table(
        ("process", "pid", "address", "metrics and health"),
        (
            (process.name, str(process.pid or "-"), from_home(process.address), process.monitored_at or "-")
            for process in running.processes
        ),
    )
    say(f"Polka is at {running.layout.url}")


def from_home(address: str) -> str:
    """The address. A path in the user's home begins with ~, because the table must fit into 80 columns."""
    home = os.path.expanduser("~")
    return f"~{address.removeprefix(home)}" if address.startswith(f"{home}/") else address


def show_window(window: Window) -> None:
    steps = [("opened", window.opened_at), ("closed", window.closed_at), ("settled", window.settled_at)]
    times = ", ".join(f"{step} {time_of(at)}" for step, at in steps if at)
    scheduled = f", as scheduled for {time_of(window.scheduled_for)} UTC" if window.scheduled_for else ""
    say(f"Window {window.id} is {window.state}: {times} UTC{scheduled}")


def show_cleared(report: Report) -> None:
    """Show the debts of the window, and the saving by clearing."""
    show_window(report)
    say(f"\nThe {LARGEST} largest debts before clearing, and the {LARGEST} largest credits:")
    show_table(("currency", "bank", "owes Polka", "bank", "gets from Polka"), owed(report))
    say("\nThe amounts that banks would pay: by payment, by pair of banks, and after clearing:")
    show_netting(report.netting or [])
    say("Nobody has to pay the saved part: the first amount less the third.")


def owed(report: Report) -> Iterator[tuple[str, ...]]:
    """For each currency, the banks with the largest debts beside the banks with the largest credits."""
    for currency in dict.fromkeys(total.currency for total in report.totals):
        nets = sorted(
            (total for total in report.totals if total.currency == currency and total.bank != POLKA),
            key=lambda total: total.net,
        )
        debtors = [one for one in nets if one.net < 0][:LARGEST]
        creditors = [one for one in reversed(nets) if one.net > 0][:LARGEST]
        for debtor, creditor in zip_longest(debtors, creditors):
            yield (
                currency,
                *((debtor.bank, figure(-debtor.net, currency)) if debtor else ("", "")),
                *((creditor.bank, figure(creditor.net, currency)) if creditor else ("", "")),
            )


def show_netting(netting: Iterable[Netting]) -> None:
    """Show the amounts to pay in each kind of settlement, and the saving by clearing."""
    show_table(
        ("currency", "payment by payment", "pair by pair", "cleared", "saved"),
        (
            (
                one.currency,
                *(figure(amount, one.currency) for amount in (one.gross, one.bilateral, one.multilateral)),
                share(one),
            )
            for one in netting
        ),
    )


def share(netting: Netting) -> str:
    """The saved part of the gross, in percent, rounded down, because 99.9 % is not all."""
    tenths = 1000 * netting.saving // netting.gross
    return f"{tenths // 10}.{tenths % 10} %"


def show_audit(done: Audit, is_short: bool = False) -> None:
    """Show the audited figures and each check. In short, show the failed checks alone."""
    counts = done.counts
    say(
        f"Audit at flush {counts['flush']:,}: {counts['transactions']:,} transactions, {counts['banks']:,} banks, "
        f"{counts['accounts']:,} accounts, {counts['unposted']:,} unposted batches"
    )
    if is_short:
        holding = sum(not differences for differences in done.differences.values())
        say(f"  [green]{holding} of {len(done.differences)} checks hold.[/] --verbose lists them.")
    for check, differences in done.differences.items():
        if is_short and not differences:
            continue
        say(f"  {'[red]FAILED[/]' if differences else '[green]holds[/] '}  {check}")
        for difference in differences[:DIFFERENCES_SHOWN]:
            say(f"          {escape(described(check, difference))}")
        if len(differences) > DIFFERENCES_SHOWN:
            say(f"          … and {len(differences) - DIFFERENCES_SHOWN:,} more")
    say("The audit is clean." if done.is_clean else "[red]The audit has failed.[/]")


def described(check: str, difference: Difference) -> str:
    """The fault and its size. A check of amounts shows amounts as people write them."""
    currency = currency_of(check, difference.subject)

    def shown(number: int) -> str:
        return figure(number, currency) if currency else f"{number:,}"

    by = difference.found - difference.expected
    return (
        f"{difference.subject}: {shown(difference.found)} instead of {shown(difference.expected)} "
        f"({'+' if by >= 0 else ''}{shown(by)})"
    )
