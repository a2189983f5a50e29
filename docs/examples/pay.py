import os

import httpx

payment = {
    "sender": {"bank": "bank1", "account": "ACC1"},
    "receiver": {"bank": "bank2", "account": "ACC1"},
    "amount": 1250,
}
headers = {"Authorization": f"Bearer {os.environ['POLKA_KEY']}"}
with httpx.Client(base_url=os.environ["POLKA_URL"], headers=headers) as polka:
    made = polka.post("/transaction", json=payment, headers={"Idempotency-Key": "rent-may"}).raise_for_status().json()
    path, reason = f"/transaction/{made['id']}", {"reason": "wrong account"}
    amended = polka.patch(path, json={"receiver": {"account": "ACC2"}}, params=reason).raise_for_status().json()
    found = polka.get("/transactions", params={"bank": "bank1", "amount_min": 1000}).raise_for_status().json()
    key = {"Idempotency-Key": "salaries-may"}
    many = polka.post("/transactions", json=[payment] * 3, headers=key).raise_for_status().json()

print(amended["version"], amended["receiver"]["account"])
print(found["transactions"][0]["id"] == made["id"])
print([result["status"] for result in many["results"]])
