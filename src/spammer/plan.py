"""The next payment: a pure function of the seed and its number, the same in any number of processes."""

import random
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any

AMOUNT_MIN, AMOUNT_MAX = 1, 1_000_000
AMOUNT_ACROSS_MIN = 100_000
"""Minor units, worth more than nothing in each currency with a rate."""


class Ranks:
    """Draws numbers below `count`, the lower the likelier: Zipf's law with exponent `skew`; 0 draws evenly."""

    def __init__(self, count: int, skew: float) -> None:
        self._sums = list(accumulate((rank + 1) ** -skew for rank in range(count)))

    def draw(self, chance: random.Random) -> int:
        return bisect(self._sums, chance.random() * self._sums[-1], hi=len(self._sums) - 1)


@dataclass(frozen=True)
class Plan:
    """Random payments between the banks' accounts."""

    seed: int
    banks: Sequence[str]
    bank_ranks: Ranks
    account_ranks: Ranks
    currencies: Sequence[str]
    across: float

    def payment(self, number: int) -> dict[str, Any]:
        """The body of payment `number`; sender and receiver are of different banks."""
        chance = random.Random(f"{self.seed}/{number}")
        sender = self.bank_ranks.draw(chance)
        receiver = self.bank_ranks.draw(chance)
        if receiver == sender:
            receiver = (sender + 1) % len(self.banks)
        payment: dict[str, Any] = {
            "sender": self._party(sender, chance),
            "receiver": self._party(receiver, chance),
            "amount": chance.randint(AMOUNT_MIN, AMOUNT_MAX),
            "currency": chance.choice(self.currencies),
        }
        if chance.random() >= self.across:
            return payment
        others = [currency for currency in self.currencies if currency != payment["currency"]]
        amount = max(payment["amount"], AMOUNT_ACROSS_MIN)
        return payment | {"amount": amount, "receiver_currency": chance.choice(others)}

    def _party(self, bank: int, chance: random.Random) -> dict[str, str]:
        return {"bank": self.banks[bank], "account": f"ACC{self.account_ranks.draw(chance) + 1}"}


def plan(
    seed: int, banks: Sequence[str], accounts: int, skew: float, currencies: Sequence[str] = ("USD",), across: float = 0
) -> Plan:
    """A plan over these banks, with this many accounts at each; `across` is the share of payments across currencies.

    Raises:
        ValueError: there are fewer than two banks.
    """
    if len(banks) < 2:
        raise ValueError(f"There are {len(banks)} banks, a payment needs two: open some with `polka seed` or --banks.")
    return Plan(seed, banks, Ranks(len(banks), skew), Ranks(accounts, skew), currencies, across)


@dataclass
class Tickets:
    """A share of the payments, given out singly: every `workers`-th number, from `worker` on.

    With a rate (payments a second, of all workers) each ticket has a due time. An infinite total
    has no last ticket.
    """

    total: float
    worker: int
    workers: int
    rate: float
    taken: int = 0

    def take(self) -> tuple[int, float] | None:
        """The payment's number, and its due time in seconds after the start. None after the last."""
        number = self.worker + self.taken * self.workers
        if number >= self.total:
            return None
        self.taken += 1
        return number, number / self.rate if self.rate else 0.0

    def take_many(self, most: int) -> list[tuple[int, float]]:
        """The next `most` tickets, or all remaining tickets."""
        return list(islice(iter(self.take, None), most))
