key="Authorization: Bearer $POLKA_KEY"
payment='{"sender": {"bank": "bank1", "account": "ACC1"}, "receiver": {"bank": "bank2", "account": "ACC1"}, "amount": 1250}'

# A payment, and its id
id=$(curl -sf "$POLKA_URL/transaction" -H "$key" -H 'Idempotency-Key: rent-april' --json "$payment" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')
# Amended: it goes to another account
curl -sf -X PATCH "$POLKA_URL/transaction/$id?reason=wrong+account" -H "$key" --json '{"receiver": {"account": "ACC2"}}'
# Found again: the newest of those that bank1 took part in
curl -sf "$POLKA_URL/transactions?bank=bank1&amount_min=1000&limit=5" -H "$key"
# Three at once, all or none
curl -sf "$POLKA_URL/transactions" -H "$key" -H 'Idempotency-Key: salaries-april' --json "[$payment, $payment, $payment]"
