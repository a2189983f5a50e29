"""The requests beside payments: shares of deletions, amendments and reads (`post=90,delete=5,patch=3,get=2`)."""

import random
from dataclasses import dataclass

from polka.rules.spam_options import OTHERS, POST, read_shares


@dataclass(frozen=True)
class Mix:
    """For each operation the number per payment, on average."""

    per_payment: dict[str, float]

    def following(self, seed: int, number: int) -> list[str]:
        """The operations after payment `number`, the same for the same seed."""
        chance = random.Random(f"{seed}/{number}/following")
        operations = []
        for operation in OTHERS:
            whole, part = divmod(self.per_payment.get(operation, 0.0), 1)
            operations += [operation] * (int(whole) + (chance.random() < part))
        return operations


NO_MIX = Mix({})


def read_mix(text: str) -> Mix:
    """The mix in the text, as shares of any sum.

    Raises:
        ValueError: the text has no mix.
    """
    shares = read_shares(text)
    return Mix({name: share / shares[POST] for name, share in shares.items() if name != POST})
