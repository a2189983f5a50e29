import os

from polka.client import Amendment, Client, Party, PartyAmendment, Payment

payment = Payment(Party("bank1", "ACC1"), Party("bank2", "ACC1"), 1250)
with Client(os.environ["POLKA_URL"], os.environ["POLKA_KEY"]) as polka:
    made = polka.pay(payment, idempotency_key="rent-may")
    amended = polka.amend(made.id, Amendment(receiver=PartyAmendment(account="ACC2")), reason="wrong account")
    found = next(polka.payments(bank="bank1", amount_min=1000))
    many = polka.pay_many([payment] * 3, idempotency_key="salaries-may")

print(amended.version, amended.receiver.account)
print(found.id == made.id)
print([result.status for result in many.results])
