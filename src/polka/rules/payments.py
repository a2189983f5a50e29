"""Answers of the api about several payments: a page, a history, the results of a bulk request."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from polka.rules.pages import OLDER_CURSOR
from polka.rules.problem import Problem
from polka.rules.transactions import OldVersion, Transaction


class Page(msgspec.Struct, frozen=True):
    """Some of the transactions found, the newest first. `cursor` is null on the last page."""

    transactions: list[Transaction]
    cursor: str | None
    next: Annotated[str | None, OLDER_CURSOR]


class History(msgspec.Struct, frozen=True):
    """The newest version of a payment, and its old versions, the newest first."""

    transaction: Transaction
    old_versions: Sequence[OldVersion]


class ItemResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """The outcome of an item of a bulk request: the status and the body of the same request alone."""

    status: int
    transaction: Transaction | None = None
    problem: Problem | None = None


class BulkResult(msgspec.Struct, frozen=True):
    """The results of all items, in their order."""

    results: list[ItemResult]
