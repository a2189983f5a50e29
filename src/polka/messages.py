"""What the api tells the cache: batches that are being committed (`POST /balance`, a list of them)."""

from typing import Annotated
from uuid import UUID

import msgspec

from polka.transactions import Entry


class Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A batch and its entries; `replaces` are batches that are known to have failed, and whose payments it takes."""

    batch: UUID
    entries: Annotated[list[Entry], msgspec.Meta(min_length=1)]
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
