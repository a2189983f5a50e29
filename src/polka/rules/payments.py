"""What the api answers about payments beyond one transaction: a page, a history, the results of many at once."""

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
    """A payment as it is, and as it was: old versions, newest first."""

    transaction: Transaction
    old_versions: Sequence[OldVersion]


class ItemResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one item of a bulk request: its status alone would have been this, with this body."""

    status: int
    transaction: Transaction | None = None
    problem: Problem | None = None


class BulkResult(msgspec.Struct, frozen=True):
    """The results of all items, in their order."""

    results: list[ItemResult]
