"""An option of routes with facts for the description of the API that are not in a signature.

The signature has the path, the parameters that Litestar reads, and the answer. `schema/openapi.py` has the refusals of
every route.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from api.http.refusals import Refusal

OPTION = "described"


class Described(msgspec.Struct, frozen=True):
    """`body` is the type of a body that the route reads itself. `parameters` are the names of parameters that the route
    reads itself (see `schema/parameters.py`). `also` has the types of further answers by status."""

    refusals: Sequence[Refusal] = ()
    body: Any = None
    parameters: Sequence[str] = ()
    also: Mapping[int, Any] = {}
    message_pack: bool = False
    csv: bool = False


def described(*refusals: Refusal, **more: Any) -> dict[str, Described]:
    """The option of a route with these further refusals."""
    return {OPTION: Described(refusals, **more)}


CAPPED = (Refusal.CAP_EXCEEDED, Refusal.CAP_UNCHECKED)
PAYS = (Refusal.KEY_REUSED, Refusal.SAME_ACCOUNT, Refusal.UNKNOWN_BANK, Refusal.BANK_SUSPENDED, *CAPPED)
CONVERTS = (Refusal.UNKNOWN_CURRENCY, Refusal.NO_RATE, Refusal.RATES_STALE, Refusal.AMOUNT_TOO_LARGE)
PAYS_ACROSS = (*PAYS, *CONVERTS, Refusal.AMOUNT_TOO_SMALL)
CHANGES = (
    *(Refusal.KEY_REUSED, Refusal.DELETED, Refusal.STALE_VERSION, Refusal.CONFLICT, Refusal.BANK_SUSPENDED),
    *CAPPED,
)
