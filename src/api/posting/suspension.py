"""What a suspended bank takes no part in: a new payment that it sends, or one that it receives if it may not either."""

from api.http.refusals import Refusal, Refused
from polka.rules.policy import Policy
from polka.rules.transactions import Payment, Transaction


def refused_payment(payment: Payment | Transaction, policy: Policy) -> Refused | None:
    """That a side of the payment is of a bank that may not send or receive it."""
    sender, receiver = payment.sender.bank, payment.receiver.bank
    if policy.terms(sender).suspended != "no":
        return refused(f"sender.bank: {sender} is suspended, and may not send.", "sender.bank")
    if policy.terms(receiver).suspended == "both":
        return refused(f"receiver.bank: {receiver} is suspended, and may not receive.", "receiver.bank")
    return None


def refused_reversal(transaction: Transaction, is_operators: bool, policy: Policy) -> Refused | None:
    """That a side of the payment is of a suspended bank: then operators alone reverse it."""
    for bank in (transaction.sender.bank, transaction.receiver.bank):
        if not is_operators and policy.terms(bank).suspended != "no":
            return refused(f"{bank} is suspended: only an operator reverses what it has sent or received.")
    return None


def refused(detail: str, field: str | None = None) -> Refused:
    return Refused(Refusal.BANK_SUSPENDED, detail, field)
