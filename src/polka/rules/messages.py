"""Messages between an api and the cache: batches under commit, and reservations."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec

from polka.rules.transactions import Entry

Entries = Annotated[list[Entry], msgspec.Meta(min_length=1)]


class Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A batch and its entries. `replaces` are failed batches with the same payments.

    Without entries, the batch itself has failed, and nothing replaces it.
    """

    batch: UUID
    entries: list[Entry]
    replaces: list[UUID] = []


class Telling(msgspec.Struct, frozen=True):
    """The same for the sender, with encoded entries: the payload of the batch row."""

    batch: str
    entries: msgspec.Raw
    replaces: list[str]


class Held(msgspec.Struct, frozen=True):
    """The cache's answer: its epoch, and the number of these batches that are pending now."""

    epoch: int
    pending: int


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A batch that needs room under the caps of this version of the policy.

    Units are accepted or refused one by one, in their order.
    """

    batch: UUID
    policy: int
    units: Annotated[list[Entries], msgspec.Meta(min_length=1)]
    replaces: list[UUID] = []


class Asking(msgspec.Struct, frozen=True):
    """The same for the sender."""

    batch: str
    policy: int
    units: Sequence[Sequence[Entry]]
    replaces: list[str]


class Overdraft(msgspec.Struct, frozen=True):
    """A cap that a payment would exceed, in minor units: the posted balance, and the pending payments (0 or less)."""

    bank: str
    currency: str
    cap: int
    balance: int
    pending: int


class Reserved(msgspec.Struct, frozen=True):
    """The cache's answer. All units are reserved except the refused units, by their index.

    If `refused` is None, nothing was decided: the cache has another version of the policy (`policy`), or the batch is
    too late. A commit under this reservation checks its epoch.
    """

    epoch: int
    policy: int
    refused: dict[int, Overdraft] | None


class PolicyToFollow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The version of the policy in force. The cache must decide under this version or a later version."""

    policy: int
