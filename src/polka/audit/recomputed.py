"""The figures that the audit computes again from payments, terms and rates: entries, totals, interest, amounts. Pure:
only texts.

These queries read tables by name. If a name stands for a part of the rows, the query holds for this part:
`polka.audit.passes` goes through all postings in steps. The relations `span` and `verified_…` hold the earlier steps.
They are empty for an audit of everything, which begins with the first payment (FROM_THE_BEGINNING).
"""

from polka.rules.interest import BOOKED_BY_POLKA, DAYS_A_YEAR_OF, INTEREST
from polka.rules.money import EXPONENTS
from polka.rules.rates import EURO
from polka.rules.transactions import CONVERSION, FEES, POLKA
from polka.rules.windows import SETTLED_BY_POLKA, SETTLEMENT

# Each version has its entries in its batch. The replacing change reverses the entries in another batch.
VERSIONS = """
    SELECT batch, 1 AS sign, sender_bank, sender_account, receiver_bank, receiver_account, currency, amount,
           receiver_currency, receiver_amount, fee
    FROM transaction_versions WHERE status = 'accepted'
    UNION ALL
    SELECT reversal_batch, -1, sender_bank, sender_account, receiver_bank, receiver_account, currency, amount,
           receiver_currency, receiver_amount, fee
    FROM transaction_history
"""
# A version moves its amount to the receiver. Across currencies the amount moves to Polka's own account, and Polka pays
# the receiver. The fee moves to Polka. The interest of windows moves between Polka and a bank.
MOVES = f"""
    SELECT batch, sign, sender_bank, sender_account,
           CASE WHEN receiver_amount IS NULL THEN receiver_bank ELSE '{POLKA}' END AS receiver_bank,
           CASE WHEN receiver_amount IS NULL THEN receiver_account ELSE '{CONVERSION}' END AS receiver_account,
           currency, amount
    FROM ({VERSIONS}) versions
    UNION ALL
    SELECT batch, sign, more.* FROM ({VERSIONS}) versions, LATERAL (VALUES
        ('{POLKA}', '{CONVERSION}', receiver_bank, receiver_account, receiver_currency, receiver_amount),
        (sender_bank, sender_account, '{POLKA}', '{FEES}', currency, fee)
    ) more (sender_bank, sender_account, receiver_bank, receiver_account, currency, amount)
    WHERE (receiver_amount IS NOT NULL OR fee > 0) AND more.amount > 0
    UNION ALL
    SELECT interest_batch, sign(interest)::int, '{POLKA}', '{INTEREST}', bank, '{BOOKED_BY_POLKA}', currency,
           abs(interest)
    FROM window_totals JOIN windows ON windows.id = window_id
    WHERE interest_batch IS NOT NULL AND interest <> 0 AND bank <> '{POLKA}'
"""
# The settlements of windows, by their nets.
NETS = """
    SELECT settlement AS batch, bank, currency, credits - debits AS net
    FROM window_totals JOIN windows ON windows.id = window_id WHERE settlement IS NOT NULL
"""
ENTRIES = f"""
    SELECT batch, side.*, false AS is_settlement FROM ({MOVES}) moves, LATERAL (VALUES
        (sender_bank, sender_account, currency, -sign * amount),
        (receiver_bank, receiver_account, currency, sign * amount)
    ) side (bank, account, currency, amount)
    UNION ALL SELECT batch, bank, '{SETTLED_BY_POLKA}', currency, -net, true FROM ({NETS}) nets WHERE net <> 0
    UNION ALL SELECT batch, '{POLKA}', '{SETTLEMENT}', currency, net, true FROM ({NETS}) nets WHERE net <> 0
"""
"""All changes of balances. The queries find them in the relation `entries`."""
FROM_THE_BEGINNING = f"""
    entries AS NOT MATERIALIZED ({ENTRIES}),
    span AS (
        SELECT -1::bigint AS after, (SELECT number FROM flush) AS until, 0::bigint AS first_window, true AS is_present
    ),
    verified_balances AS (
        SELECT ''::text AS bank, ''::text AS account, ''::text AS currency, 0::numeric AS amount WHERE false
    ),
    verified_totals AS (
        SELECT 0::bigint AS window_id, ''::text AS bank, ''::text AS currency, 0::numeric AS debits,
               0::numeric AS credits, 0::bigint AS count, 0::numeric AS fees WHERE false
    ),
    verified_interest AS (
        SELECT ''::text AS bank, ''::text AS currency, 0::numeric AS debit, 0::numeric AS credit, now() AS at
        WHERE false
    )
"""
PAYLOADS = """
    SELECT id AS batch, state, entry->>0 AS bank, entry->>1 AS account, entry->>2 AS currency,
           (entry->>3)::numeric AS amount
    FROM batches, jsonb_array_elements(payload::jsonb) AS entry
"""
DAYS = ", ".join(f"('{currency}', {days})" for currency, days in DAYS_A_YEAR_OF.items())
# The expected accruals, by bank and currency: `debit` and `credit` in minor units × microseconds × basis points. There
# is a row for each window that the span has closed, and for the open window (null) up to its accrual. A balance lasts
# for a piece of time. A piece ends with a flush, with the closing of a window, or with the latest accrual. A balance
# that was proved before its bank's interest was agreed has no such end before the span, and accrues nothing there.
ACCRUED = """
    WITH rates AS (
        SELECT bank, currency, (rate->>'debit_basis_points')::numeric AS debit_rate,
               (rate->>'credit_basis_points')::numeric AS credit_rate, since,
               coalesce(until, 'infinity') AS until
        FROM (
            SELECT bank, interest, in_force_from AS since,
                   lead(in_force_from) OVER (PARTITION BY bank ORDER BY version) AS until
            FROM bank_terms WHERE version <= (SELECT policy FROM flush)
        ) terms, jsonb_each(interest) AS rate_of (currency, rate)
    ), events AS (
        SELECT bank, currency, flush, 0 AS closing, NULL::bigint AS window_id, max(posted_at) AS at,
               sum(amount) AS amount
        FROM entries JOIN batches ON batches.id = batch AND state = 'posted'
        WHERE (bank, currency) IN (SELECT bank, currency FROM rates) GROUP BY 1, 2, 3
        UNION ALL
        SELECT bank, currency, after, 0, NULL, at, amount
        FROM span, verified_balances LEFT JOIN verified_interest USING (bank, currency)
        WHERE (bank, currency) IN (SELECT bank, currency FROM rates)
        UNION ALL
        SELECT bank, currency, flush, id, id, closed_at, 0
        FROM span, windows, (SELECT DISTINCT bank, currency FROM rates) bearing
        WHERE state <> 'open' AND id >= first_window AND flush <= until
        UNION ALL
        SELECT bank, currency, NULL, NULL, NULL, accrued_until, 0 FROM interest_accruals, span WHERE is_present
    ), pieces AS (
        SELECT bank, currency, sum(amount) OVER before AS balance, max(at) OVER before AS began,
               max(at) OVER up_to AS ended, min(window_id) OVER after AS window_id
        FROM events
        WINDOW up_to AS (PARTITION BY bank, currency ORDER BY flush, closing ROWS UNBOUNDED PRECEDING),
               before AS (PARTITION BY bank, currency ORDER BY flush, closing
                          ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
               after AS (PARTITION BY bank, currency ORDER BY flush, closing
                         ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
    )
    SELECT window_id, bank, currency, sum(debit) AS debit, sum(credit) AS credit, max(ended) AS at FROM (
        SELECT window_id, bank, currency, greatest(-balance, 0) * debit_rate * microseconds AS debit,
               greatest(balance, 0) * credit_rate * microseconds AS credit, ended
        FROM pieces JOIN rates USING (bank, currency), LATERAL (
            SELECT (extract(epoch FROM least(ended, until) - greatest(began, since)) * 1000000)::bigint AS microseconds
            WHERE ended IS NOT NULL AND least(ended, until) > greatest(began, since)
        ) passed
        UNION ALL
        SELECT (SELECT min(id) FROM windows, span WHERE id >= first_window AND state <> 'open' AND flush <= until),
               bank, currency, debit, credit, at
        FROM verified_interest
    ) parts
    GROUP BY 1, 2, 3
"""
# Windows that are not completely in the span.
UNFINISHED = """
    SELECT id FROM windows, span
    WHERE id < first_window OR CASE WHEN state = 'open' THEN NOT is_present ELSE flush > until END
"""
# The totals of windows from the entries in the span.
NEW_TOTALS = f"""
    SELECT window_id, bank, currency, sum(greatest(-amount, 0)) AS debits, sum(greatest(amount, 0)) AS credits,
           sum(count) AS count, sum(fee) AS fees
    FROM (
        SELECT batch, bank, currency, amount, 1 AS count, 0 AS fee FROM entries WHERE NOT is_settlement
        UNION ALL SELECT batch, sender_bank, currency, 0, 0, sign * fee FROM ({VERSIONS}) versions WHERE fee > 0
    ) parts JOIN batches ON batches.id = batch AND state = 'posted'
    GROUP BY 1, 2, 3
"""
TOTALS = f"""
    SELECT window_id, bank, currency, sum(debits) AS debits, sum(credits) AS credits, sum(count) AS count,
           sum(fees) AS fees
    FROM (
        {NEW_TOTALS}
        UNION ALL SELECT window_id, bank, currency, debits, credits, count, fees FROM verified_totals
    ) parts
    GROUP BY 1, 2, 3
"""
UNPOSTED = f"SELECT bank, account, currency, amount FROM ({PAYLOADS}) payloads WHERE state = 'unposted'"
UNITS = ", ".join(f"('{currency}', {10**exponent})" for currency, exponent in EXPONENTS.items())
# The exact worth of each payment across currencies by its own rates: `worth` divided by `unit`. Amounts and rates are
# those of the first version, so each version is rounded by the rule in the payment's row. The query finds the row by
# its key, because a step of the audit has few versions and must not read the whole table.
WORTHS = f"""
    WITH units (currency, units) AS (VALUES {UNITS}), of_euro AS (
        SELECT date, version, currency, rate FROM rates UNION ALL SELECT date, version, '{EURO}', 1 FROM rate_sets
    )
    SELECT concat_ws(' ', made.id, made.version) AS subject, made.receiver_amount, made.rate,
           (SELECT rounded_down FROM transactions payment WHERE payment.id = made.id) AS rounded_down,
           source.rate AS source_rate, target.rate AS target_rate,
           made.amount * target.rate * target_units.units AS worth, source.rate * source_units.units AS unit
    FROM transaction_versions made
    LEFT JOIN units source_units ON source_units.currency = made.currency
    LEFT JOIN units target_units ON target_units.currency = made.receiver_currency
    LEFT JOIN of_euro source
    ON (source.date, source.version, source.currency) = (made.rate_date, made.rate_version, made.currency)
    LEFT JOIN of_euro target
    ON (target.date, target.version, target.currency) = (made.rate_date, made.rate_version, made.receiver_currency)
    WHERE made.receiver_amount IS NOT NULL
"""
COUNTS_FOR_LIQUIDITY = f"(bank <> '{POLKA}' OR account IN ('{SETTLEMENT}', '{SETTLED_BY_POLKA}'))"
