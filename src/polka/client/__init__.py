"""A typed client of Polka's API.

    with Client("http://127.0.0.1:8000", key) as polka:
        made = polka.pay(Payment(Party("bank1", "ACC1"), Party("bank2", "ACC1"), 1250), idempotency_key="rent-march")

`Client` is for threads, `AsyncClient` for asyncio. Both have the same methods.
"""

from polka.client.asynchronous import AsyncClient
from polka.client.errors import ClientError, NotPolkaError, OutcomeUnknownError, ProblemError, UnavailableError
from polka.client.synchronous import Client
from polka.rules.drills import Target
from polka.rules.keys import NewKey, Scope
from polka.rules.payments import BulkResult
from polka.rules.policy import Fee, Interest, InterestPatch, TermsPatch
from polka.rules.transactions import Amendment, Party, PartyAmendment, Payment, Transaction

__all__ = [
    "Amendment",
    "AsyncClient",
    "BulkResult",
    "Client",
    "ClientError",
    "Fee",
    "Interest",
    "InterestPatch",
    "NewKey",
    "NotPolkaError",
    "OutcomeUnknownError",
    "Party",
    "PartyAmendment",
    "Payment",
    "ProblemError",
    "Scope",
    "Target",
    "TermsPatch",
    "Transaction",
    "UnavailableError",
]
