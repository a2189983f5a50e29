"""Ledgers for tests, and the audit's findings after falsifications of their rows."""

import asyncpg

from cache.clearing import windows
from cache.ledger import flush
from committed import commit, new_id, transfer

IN_ONE_PAYMENT = {
    "a balance": (
        "UPDATE balances SET balance = balance + 7 WHERE bank = 'bank1'",
        "bank1 USD: -0.93 instead of -1.00 (+0.07)",
    ),
    "an account": (
        "UPDATE accounts SET balance = balance - 3 WHERE bank = 'bank2'",
        "bank2 B1 USD: 0.97 instead of 1.00 (-0.03)",
    ),
    "an amount": ("UPDATE transactions SET amount = 1", "bank1 A1 USD: -1.00 instead of -0.01 (-0.99)"),
    "a payment gone": ("DELETE FROM transactions", "0 instead of 1 (-1)"),
    "a payment twice": (
        "INSERT INTO transactions SELECT gen_random_uuid(), batch, sender_bank, sender_account, receiver_bank, "
        "receiver_account, amount, currency FROM transactions",
        "bank1 A1 USD: -1.00 instead of -2.00 (+1.00)",
    ),
    "a batch of nobody": ("UPDATE transactions SET batch = gen_random_uuid()", "1 instead of 0 (+1)"),
    "a batch that says something else": (
        "UPDATE batches SET payload = replace(payload::text, '100', '90')::json",
        "bank1 A1 USD: -0.90 instead of -1.00 (+0.10)",
    ),
    "entries that are none": (
        "UPDATE batches SET payload = '{}'",
        "something is stored that makes no sense",
    ),
    "a version gone": ("UPDATE transactions SET version = 2, changed_at = now()", "0 instead of 1 (-1)"),
    "a version reversed elsewhere": (
        "INSERT INTO transaction_history SELECT id, 1, batch, sender_bank, sender_account, receiver_bank, "
        "receiver_account, amount, currency, reference, status, created_at, NULL, gen_random_uuid(), now(), 'me' "
        "FROM transactions; UPDATE transactions SET version = 2, changed_at = now()",
        "FAILED A version is reversed in the batch of the next",
    ),
    "a batch counted twice": (
        "UPDATE batches SET state = 'unposted', flush = NULL, posted_at = NULL",
        "bank1 USD: -2.00 instead of -1.00 (-1.00)",
    ),
    "a window's total": (
        "UPDATE window_totals SET credits = credits + 4 WHERE bank = 'bank2'",
        "window 1 bank2 USD credits: 1.04 instead of 1.00 (+0.04)",
    ),
    "a window's count": (
        "UPDATE window_totals SET count = 9 WHERE bank = 'bank2'",
        "window 1 bank2 USD count: 9 instead of 1 (+8)",
    ),
    "a window's net that no balance has": (
        "DELETE FROM window_totals WHERE bank = 'bank1'",
        "FAILED A bank's balance is the sum of the nets of its unsettled windows "
        "bank1 USD: -1.00 instead of 0.00 (-1.00)",
    ),
    "a batch in no window": (
        "UPDATE batches SET window_id = NULL",
        "FAILED A batch is in a window if it is posted, and in none if it is not",
    ),
    "a batch in a window that is none": ("UPDATE batches SET window_id = 7", "in window 7: 1 instead of 0 (+1)"),
    "an entry in two windows": (
        "UPDATE windows SET state = 'closed', closed_at = now(), flush = 1; INSERT INTO windows (id) VALUES (2); "
        "INSERT INTO window_totals SELECT 2, bank, currency, debits, credits, count FROM window_totals",
        "window 2 bank1 USD debits: 1.00 instead of 0.00 (+1.00)",
    ),
    "a window closed too much": (
        "UPDATE windows SET state = 'closed', closed_at = now(), flush = 1",
        "window 1: 0 instead of 1 (-1)",
    ),
    "a bank that is none": ("DELETE FROM banks WHERE name = 'bank1'", "bank1: 0 instead of 1 (-1)"),
    "a key without its payment": (
        "INSERT INTO idempotency_keys VALUES ('me', 'k', '', gen_random_uuid())",
        "me k: 0 instead of 1 (-1)",
    ),
}


IN_WINDOWS = {
    "a changed settlement": (
        "UPDATE batches SET payload = replace(payload::text, '-100', '-90')::json FROM windows "
        "WHERE batches.id = settlement",
        "A batch's entries are those of its transactions, or of its settlement",
    ),
    "a settlement that no balance has": (
        "UPDATE balances SET balance = -200 WHERE bank = 'bank1'",
        "A bank's balance is the sum of the nets of its unsettled windows",
    ),
    "a settlement that is gone": (
        "UPDATE windows SET settlement = NULL",
        "A window is settled by one batch, posted in it",
    ),
    "a settlement in another window": (
        "UPDATE batches SET window_id = 2 WHERE id IN (SELECT settlement FROM windows)",
        "A window is settled by one batch, posted in it",
    ),
    "a second settlement": (
        "INSERT INTO batches (id, state, size, payload, flush, posted_at, window_id) SELECT gen_random_uuid(), "
        "'posted', size, payload, 3, now(), 1 FROM batches WHERE id IN (SELECT settlement FROM windows)",
        "A batch's entries are those of its transactions, or of its settlement",
    ),
    "a net changed after it was settled": (
        "UPDATE window_totals SET credits = credits + 1 WHERE bank = 'bank1'",
        "A batch's entries are those of its transactions, or of its settlement",
    ),
    "figures of a netting that are others": (
        "INSERT INTO window_netting VALUES (1, 'USD', 100, 100, 90); UPDATE windows SET is_netted = true WHERE id = 1",
        "A closed window's netting is that of its payments",
    ),
    "a netting that is left out": (
        "UPDATE windows SET is_netted = true WHERE id = 1",
        "A closed window's netting is that of its payments",
    ),
    "a window that only says that it is settled": (
        "UPDATE windows SET state = 'settled', settled_at = now(), closed_at = now(), flush = 2 WHERE id = 2",
        "A window is settled by one batch, posted in it",
    ),
}


async def close_two_and_settle_one(connection: asyncpg.Connection) -> None:
    for window in (1, 2):
        await commit(connection, transfer(100))
        await flush.flush(connection, 0, 2 * window - 1, 100)
        await windows.close(connection, 0, window, 2 * window, new_id())
        if window == 1:
            await windows.settle(connection, 0, window, 2, new_id())


AGREE = """
SELECT polka_change_terms(
    'bank1', 0, '{}', 'no', '{}', '{"USD": {"debit_basis_points": 1000, "credit_basis_points": 0}}', 'tests'
)
"""


IN_INTEREST = {
    "interest that a bank did not earn": (
        "UPDATE window_totals SET interest = interest + 1 WHERE bank = 'bank1'",
        "A window's interest is that of balances, times and rates, rounded half to even",
    ),
    "interest that is left out": (
        "UPDATE window_totals SET interest = 0",
        "A window's interest is that of balances, times and rates, rounded half to even",
    ),
    "interest that Polka did not take": (
        "UPDATE window_totals SET interest = interest + 1 WHERE bank = 'polka'",
        "A window's interest is that of balances, times and rates, rounded half to even",
    ),
    "a rate that was altered afterwards": (
        """UPDATE bank_terms SET interest = '{"USD": {"debit_basis_points": 1100, "credit_basis_points": 0}}'""",
        "A window's interest is that of balances, times and rates, rounded half to even",
    ),
    "terms that are said to be newer": (
        "UPDATE bank_terms SET in_force_from = in_force_from + interval '1 day'",
        "A window's interest is that of balances, times and rates, rounded half to even",
    ),
    "interest that another payment would bear": (
        "UPDATE batches SET posted_at = posted_at + interval '1 day' WHERE flush = 1",
        "A window's interest is that of balances, times and rates, rounded half to even",
    ),
    "a booking that is gone": (
        "UPDATE windows SET interest_batch = NULL",
        "Interest is booked by one batch, posted in its window",
    ),
    "a booking in another window": (
        "UPDATE batches SET window_id = 2 WHERE id IN (SELECT interest_batch FROM windows)",
        "Interest is booked by one batch, posted in its window",
    ),
    "a booking of another amount": (
        "UPDATE batches SET payload = replace(payload::text, '-30', '-31')::json "
        "WHERE id IN (SELECT interest_batch FROM windows)",
        "A batch's entries are those of its transactions, or of its settlement",
    ),
    "more that has accrued": (
        "UPDATE interest_accruals SET debit = debit + 1",
        "What has accrued in the open window is that of balances, times and rates",
    ),
    "an accrual that is gone": (
        "DELETE FROM interest_accruals",
        "What has accrued in the open window is that of balances, times and rates",
    ),
}


async def bear_interest(connection: asyncpg.Connection) -> None:
    """Book three days' interest in window 1, and accrue more in the open window."""
    await connection.execute(AGREE)
    await commit(connection, transfer(36_000))
    await flush.flush(connection, 0, 1, 100)
    for table_name, column in (
        ("batches", "posted_at"),
        ("bank_terms", "in_force_from"),
        ("interest_accruals", "accrued_until"),
    ):
        await connection.execute(f"UPDATE {table_name} SET {column} = {column} - interval '3 days'")
    await windows.close(connection, 0, 1, 2, new_id())
    await commit(connection, transfer(5))
    await flush.flush(connection, 0, 3, 100)


IN_LIQUIDITY = {
    "a newest figure that is another": (
        "UPDATE liquidity_history SET owes = owes + 1 WHERE resolution = 'day'",
        "The newest figures of liquidity are those of the balances",
    ),
    "a currency left out": (
        "DELETE FROM liquidity_history WHERE currency = 'EUR'",
        "The newest figures of liquidity are those of the balances",
    ),
    "a balance that is another": (
        "UPDATE balances SET balance = 2 * balance",
        "The newest figures of liquidity are those of the balances",
    ),
    "a figure of the past that is another": (
        "UPDATE liquidity_history SET owes = owes + 1 WHERE flush = 1",
        "A sample of liquidity has the figures that its flushes made",
    ),
    "what was held in the past": (
        "UPDATE liquidity_history SET held = held + 1 WHERE flush = 1",
        "A sample of liquidity has the figures that its flushes made",
    ),
    "a highest that never was": (
        "UPDATE liquidity_history SET highest = highest + 1 WHERE resolution <> 'flush'",
        "A sample of liquidity has the figures that its flushes made",
    ),
    "a highest that is kept quiet": (
        "UPDATE liquidity_history SET highest = owed, highest_flush = flush, highest_at = at WHERE resolution = 'day'",
        "A span of liquidity has the highest of the shorter ones in it",
    ),
    "a minute's that is kept quiet": (
        "UPDATE liquidity_history SET highest = owed, highest_flush = flush, highest_at = at "
        "WHERE resolution = 'minute'",
        "A span of liquidity has the highest of the shorter ones in it",
    ),
    "a highest of another day": (
        "DELETE FROM liquidity_history WHERE resolution IN ('flush', 'minute'); "
        "UPDATE liquidity_history SET highest = 50, highest_flush = 2 WHERE resolution = 'hour'",
        "A span of liquidity has the highest of the shorter ones in it",
    ),
}


async def take_samples(connection: asyncpg.Connection) -> None:
    """Flush debts of 100, 50, 70, and 0 (by a settlement), and then a debt in another currency."""
    for number, entries in enumerate((transfer(100), transfer(50, "bank2", "bank1"), transfer(20)), 1):
        await commit(connection, entries)
        await flush.flush(connection, 0, number, 100)
    await windows.close(connection, 0, 1, 4, new_id())
    await windows.settle(connection, 0, 1, 4, new_id())
    await commit(connection, transfer(5, currency="EUR"))
    await flush.flush(connection, 0, 5, 100)


IN_CONVERSIONS = {
    "a rate changed": (
        "UPDATE rates SET rate = rate + 0.0001 WHERE currency = 'USD'",
        "A payment shows the rate of the stored rates, in ten digits",
    ),
    "a rate changed so much that the amount is another": (
        "UPDATE rates SET rate = 1.2 WHERE currency = 'USD'",
        "A receiver gets what the stored rates say, rounded down",
    ),
    "rates that are gone": (
        "DELETE FROM rates",
        "A receiver gets what the stored rates say, rounded down",
    ),
    "rates of another day": (
        "UPDATE transactions SET rate_date = rate_date - 1",
        "A payment shows the rate of the stored rates, in ten digits",
    ),
    "another rate shown": (
        "UPDATE transactions SET rate = 1.1173",
        "A payment shows the rate of the stored rates, in ten digits",
    ),
    "rounded up": (
        "UPDATE transactions SET receiver_amount = 1399",
        "A receiver gets what the stored rates say, rounded down",
    ),
    "rounded half to even, as by an older Polka": (
        "UPDATE transactions SET rounded_down = NULL",
        "A receiver gets what the stored rates say, rounded down",
    ),
    "more than was booked": (
        "UPDATE transactions SET receiver_amount = 1399",
        "A batch's entries are those of its transactions, or of its settlement",
    ),
    "another currency": (
        "UPDATE transactions SET receiver_currency = 'GBP'",
        "A bank's balance is the sum of its entries",
    ),
    "a conversion left out": (
        "UPDATE transactions SET receiver_amount = NULL, receiver_currency = NULL, rate = NULL, rate_date = NULL, "
        "rate_version = NULL",
        "An account's balance is the sum of its entries",
    ),
    "an old version's amount": (
        "UPDATE transaction_history SET receiver_amount = 1399",
        "A receiver gets what the stored rates say, rounded down",
    ),
}


RULE = "A payment's fee is that of its sender's terms, rounded half to even"


IN_FEES = {
    "a fee that is missing": ("UPDATE transactions SET fee = NULL", RULE),
    "a fee that is missing in an old version": ("UPDATE transaction_history SET fee = NULL", RULE),
    "a fee of nothing": ("UPDATE transactions SET fee = 0", RULE),
    "a fee that is missing all over": (
        "UPDATE transactions SET fee = NULL; UPDATE batches SET payload = (SELECT json_agg(entry) FROM "
        "json_array_elements(payload) entry WHERE entry->>1 <> 'fees' AND entry->>3 <> '-135')",
        RULE,
    ),
    "a fee too high": ("UPDATE transactions SET fee = 136", RULE),
    "a fee that nobody agreed": (
        "UPDATE bank_terms SET fees = '{}'",
        RULE,
    ),
    "other terms": (
        """UPDATE bank_terms SET fees = '{"USD": {"fixed": 34}}' WHERE fees->'USD'->>'fixed' = '35'""",
        RULE,
    ),
    "another version of the terms": ("UPDATE batches SET policy = policy - 1 WHERE policy = 2", RULE),
    "a fee that was not booked": (
        "UPDATE batches SET payload = replace(payload::text, '135', '134')::json",
        "A batch's entries are those of its transactions, or of its settlement",
    ),
    "a fee that polka did not get": (
        "UPDATE accounts SET balance = 0 WHERE account = 'fees'",
        "An account's balance is the sum of its entries",
    ),
    "a window's fees": (
        "UPDATE window_totals SET fees = 0 WHERE bank = 'bank1'",
        "A window's totals are those of its entries",
    ),
}
