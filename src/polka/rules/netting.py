"""The savings of clearing: the sums if each payment, each pair of banks, or each bank settles separately. Pure."""

from collections.abc import Iterable, Iterator

import msgspec

from polka.rules.transactions import Entry


class Netting(msgspec.Struct, frozen=True):
    """The amounts that banks would have to pay for one window's payments in one currency, in minor units.

    `gross` if they settled each payment, `bilateral` if each pair of banks settled the difference, `multilateral` if
    each bank settles its net with Polka. `saving` is gross less multilateral. Payments within a bank do not count.
    """

    currency: str
    gross: int
    bilateral: int
    multilateral: int
    saving: int


class Flows:
    """Payments between banks in a currency, added payment by payment.

    Many banks make very many pairs. Each bank has a table of its own, because a large table takes long to grow.
    """

    def __init__(self) -> None:
        self._gross = 0
        self._bilateral = 0
        self._pairs: dict[str, dict[str, int]] = {}
        self._nets: dict[str, int] = {}

    def add(self, payer: str, payee: str, amount: int) -> None:
        """An amount above zero, from one bank to another."""
        one, other, paid = (payer, payee, amount) if payer < payee else (payee, payer, -amount)
        others = self._pairs.setdefault(one, {})
        before = others.get(other, 0)
        others[other] = before + paid
        self._bilateral += abs(before + paid) - abs(before)
        self._gross += amount
        self._nets[payer] = self._nets.get(payer, 0) - amount
        self._nets[payee] = self._nets.get(payee, 0) + amount

    def netting(self, currency: str) -> Netting:
        multilateral = sum(net for net in self._nets.values() if net > 0)
        return Netting(currency, self._gross, self._bilateral, multilateral, self._gross - multilateral)

    def forget_bank(self) -> bool:
        """Forget the payments of a bank. Returns whether there was a bank. To forget all banks at once takes long."""
        if not self._pairs:
            return False
        self._pairs.popitem()
        return True


def movements(entries: Iterable[Entry]) -> Iterator[tuple[str, str, str, int]]:
    """Payer, payee, currency and amount of each movement between two banks.

    Entries of a batch come in pairs of a debit and a credit. In a reversal, the payer is the original receiver.
    """
    rest = iter(entries)
    for one, other in zip(rest, rest, strict=True):
        payer, payee = (one, other) if one[3] < 0 else (other, one)
        if payer[0] != payee[0]:
            yield payer[0], payee[0], payer[2], payee[3]
