"""The fee for the sender of a payment, by the terms of the sender's bank. Pure: exact, and rounded once."""

from polka.rules.money import AMOUNT_MAX
from polka.rules.policy import BASIS_POINTS, Fee, Terms


def fee_of(terms: Terms, amount: int, currency: str) -> int | None:
    """The fee of a payment under the terms of its sender's bank; None if no fee is agreed in its currency."""
    agreed = terms.fees.get(currency)
    return None if agreed is None else charge(agreed, amount)


def charge(agreed: Fee, amount: int) -> int:
    """The fixed part plus the share of the amount, rounded once, half to even, and then limited to minimum and maximum.

    In minor units. The fee never exceeds the largest amount of a payment.
    """
    whole, rest = divmod(agreed.fixed * BASIS_POINTS + agreed.basis_points * amount, BASIS_POINTS)
    if 2 * rest > BASIS_POINTS or (2 * rest == BASIS_POINTS and whole % 2 == 1):
        whole += 1
    maximum = AMOUNT_MAX if agreed.maximum is None else agreed.maximum
    return min(max(whole, agreed.minimum), maximum)
