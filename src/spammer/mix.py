"""What goes with the payments: how often one is deleted, amended or read again (`post=90,delete=5,patch=3,get=2`)."""

import random
from dataclasses import dataclass

from polka.rules.spam_options import OTHERS, POST, read_shares


@dataclass(frozen=True)
class Mix:
    """By operation, how many of it go with one payment, on average."""

    per_payment: dict[str, float]

    def following(self, seed: int, number: int) -> list[str]:
        """What follows payment `number`: the same for the same seed."""
        chance = random.Random(f"{seed}/{number}/following")
        operations = []
        for operation in OTHERS:
            whole, part = divmod(self.per_payment.get(operation, 0.0), 1)
            operations += [operation] * (int(whole) + (chance.random() < part))
        return operations


NO_MIX = Mix({})


def read_mix(text: str) -> Mix:
    """The mix that `text` names, as shares of any sum.

    Raises:
        ValueError: it names none.
    """
    shares = read_shares(text)
    return Mix({name: share / shares[POST] for name, share in shares.items() if name != POST})
