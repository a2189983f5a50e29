"""The payments that a suspension forbids: all that the bank sends, and also all that the bank receives if suspended
both ways."""

from api.http.refusals import Refusal, Refused
from polka.rules.policy import Policy
from polka.rules.transactions import Payment, Transaction


def refused_payment(payment: Payment | Transaction, policy: Policy) -> Refused | None:
    """The refusal of a payment whose sending or receiving bank is suspended."""
    sender, receiver = payment.sender.bank, payment.receiver.bank
    if policy.terms(sender).suspended != "no":
        return refused(f"sender.bank: {sender} is suspended, and may not send.", "sender.bank")
    if policy.terms(receiver).suspended == "both":
        return refused(f"receiver.bank: {receiver} is suspended, and may not receive.", "receiver.bank")
    return None


def refused_reversal(transaction: Transaction, is_operators: bool, policy: Policy) -> Refused | None:
    """The refusal of a change of a suspended bank's payment. Only operators may change these payments."""
    for bank in (transaction.sender.bank, transaction.receiver.bank):
        if not is_operators and policy.terms(bank).suspended != "no":
            return refused(f"{bank} is suspended: only an operator reverses what it has sent or received.")
    return None


def refused(detail: str, field: str | None = None) -> Refused:
    return Refused(Refusal.BANK_SUSPENDED, detail, field)
