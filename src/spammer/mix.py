"""What goes with the payments: how often one is deleted, amended or read again (`post=90,delete=5,patch=3,get=2`)."""

import random
from dataclasses import dataclass

POST = "post"
OTHERS = ("patch", "get", "delete")
"""In the order in which they follow a payment."""


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
        ValueError: it is none.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        if name not in (POST, *OTHERS) or name in shares or not share.isdecimal():
            raise ValueError(f"--mix: {part!r} is none of post, delete, patch and get with a whole number, as get=2.")
        shares[name] = int(share)
    if not shares.get(POST):
        raise ValueError("--mix: there must be payments in it, as post=90.")
    return Mix({name: share / shares[POST] for name, share in shares.items() if name != POST})
