"""Messages between an api and the cache: batches under commit, and reservations."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec

from polka.rules.transactions import Entry

Entries = Annotated[list[Entry], msgspec.Meta(min_length=1)]


class Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A batch and its entries. `replaces` are failed batches with the same payments."""

    batch: UUID
    entries: Entries
    replaces: list[UUID] = []


class Telling(msgspec.Struct, frozen=True):
    """The same for the sender, who has the entries encoded already: they are the batch row's payload."""

    batch: str
    entries: msgspec.Raw
    replaces: list[str]


class Held(msgspec.Struct, frozen=True):
    """The cache's answer: its epoch, and how many of the batches are pending now."""

    epoch: int
    pending: int


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A batch for which room is to be reserved under the caps of this version of the policy.

    Each of its units is accepted or refused by itself, in their order.
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
    """The cache's answer: all units are reserved but those that are refused, which are told by their place.

    Nothing was decided where `refused` is None: the cache decides under another version of the policy, which it tells,
    or the batch's id has had its day. A commit under this reservation checks its epoch.
    """

    epoch: int
    policy: int
    refused: dict[int, Overdraft] | None


class PolicyToFollow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The version of the policy in force. The cache must decide under this version or a later version."""

    policy: int
