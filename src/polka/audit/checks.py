"""The rules for a Polka's database, as queries for violations. Pure: only texts."""

import re

from polka.audit.recomputed import (
    ACCRUED,
    COUNTS_FOR_LIQUIDITY,
    DAYS,
    MOVES,
    PAYLOADS,
    TOTALS,
    UNFINISHED,
    UNPOSTED,
    WORTHS,
)
from polka.rules.interest import DAYS_A_YEAR, MICROSECONDS_A_DAY
from polka.rules.liquidity import KEPT
from polka.rules.money import AMOUNT_MAX
from polka.rules.policy import BASIS_POINTS
from polka.rules.transactions import POLKA
from polka.store.exposures import FIGURES

# Each check is a query for violations: the subject, the expected value, and the found value.
CHECKS = {
    "An account's balance is the sum of its entries": f"""
        WITH recomputed AS (
            SELECT bank, account, currency, sum(amount) AS amount FROM entries GROUP BY 1, 2, 3
        ), stored AS (
            SELECT bank, account, currency, sum(amount) AS amount FROM (
                SELECT bank, account, currency, balance AS amount FROM accounts UNION ALL {UNPOSTED}
            ) parts GROUP BY 1, 2, 3
        )
        SELECT concat_ws(' ', bank, account, currency) AS subject,
               coalesce(recomputed.amount, 0) AS expected, coalesce(stored.amount, 0) AS found
        FROM recomputed FULL JOIN stored USING (bank, account, currency)
        WHERE coalesce(recomputed.amount, 0) <> coalesce(stored.amount, 0)
    """,
    "A bank's balance is the sum of its entries": f"""
        WITH recomputed AS (
            SELECT bank, currency, sum(amount) AS amount FROM entries GROUP BY 1, 2
        ), stored AS (
            SELECT bank, currency, sum(amount) AS amount FROM (
                SELECT bank, currency, balance AS amount FROM balances
                UNION ALL SELECT bank, currency, amount FROM ({UNPOSTED}) unposted
            ) parts GROUP BY 1, 2
        )
        SELECT concat_ws(' ', bank, currency) AS subject,
               coalesce(recomputed.amount, 0) AS expected, coalesce(stored.amount, 0) AS found
        FROM recomputed FULL JOIN stored USING (bank, currency)
        WHERE coalesce(recomputed.amount, 0) <> coalesce(stored.amount, 0)
    """,
    "Balances of all banks sum to zero": """
        SELECT currency AS subject, 0 AS expected, sum(balance) AS found FROM balances
        GROUP BY currency HAVING sum(balance) <> 0
    """,
    "Balances of all accounts sum to zero": """
        SELECT currency AS subject, 0 AS expected, sum(balance) AS found FROM accounts
        GROUP BY currency HAVING sum(balance) <> 0
    """,
    "A batch has as many versions of transactions as its row says": """
        SELECT coalesce(batches.id, counted.batch)::text AS subject,
               coalesce(size, 0) AS expected, coalesce(versions, 0) AS found
        FROM (SELECT batch, count(*) AS versions FROM transaction_versions GROUP BY batch) counted
        FULL JOIN batches ON batches.id = counted.batch
        WHERE coalesce(size, 0) <> coalesce(versions, 0)
        AND NOT EXISTS (SELECT FROM windows WHERE batches.id IN (settlement, interest_batch) AND versions IS NULL)
    """,
    "A batch's entries are those of its transactions, or of its settlement": f"""
        SELECT concat_ws(' ', batch, bank, account, currency) AS subject, sum(made) AS expected, sum(said) AS found
        FROM (
            SELECT batch, bank, account, currency, amount AS made, 0 AS said FROM entries
            UNION ALL
            SELECT batch, bank, account, currency, 0, amount FROM ({PAYLOADS}) payloads WHERE state <> 'aside'
        ) both_sides
        WHERE batch IN (SELECT id FROM batches WHERE payload IS NOT NULL AND state <> 'aside')
        GROUP BY batch, bank, account, currency HAVING sum(made) <> sum(said)
    """,
    "A changed transaction has all of its versions": """
        SELECT id::text AS subject, coalesce(version - 1, 0) AS expected, coalesce(old, 0) AS found
        FROM (SELECT id, version FROM transactions WHERE version > 1) changed
        FULL JOIN (SELECT id, count(*) AS old FROM transaction_history GROUP BY id) history USING (id)
        WHERE (version - 1) IS DISTINCT FROM old
    """,
    "A version is reversed in the batch of the next": """
        SELECT concat_ws(' ', old.id, old.version) AS subject, 1 AS expected, 0 AS found
        FROM transaction_history old
        LEFT JOIN transaction_versions next ON next.id = old.id AND next.version = old.version + 1
        WHERE next.batch IS DISTINCT FROM old.reversal_batch
    """,
    "A receiver gets what the stored rates say, rounded down": f"""
        SELECT subject, coalesce(expected, 0) AS expected, receiver_amount AS found FROM ({WORTHS}) worths,
        LATERAL (SELECT div(2 * worth + unit, 2 * unit) AS up, mod(2 * worth + unit, 2 * unit) = 0 AS is_tie) halves,
        LATERAL (SELECT CASE
            WHEN rounded_down THEN div(worth, unit) WHEN is_tie AND mod(up, 2) = 1 THEN up - 1 ELSE up
        END AS expected) rounded
        WHERE expected IS DISTINCT FROM receiver_amount
    """,
    "A payment shows the rate of the stored rates, in ten digits": f"""
        SELECT subject, 1 AS expected, 0 AS found FROM ({WORTHS}) worths
        WHERE (abs(rate * source_rate - target_rate) <= 5e-10 * rate * source_rate) IS NOT TRUE
    """,
    "A payment's fee is that of its sender's terms, rounded half to even": f"""
        WITH terms AS (
            SELECT bank, version AS since, lead(version) OVER (PARTITION BY bank ORDER BY version) AS until, fees
            FROM bank_terms
        ), agreed AS (
            SELECT bank, currency, since, until, (fee->>'fixed')::numeric * {BASIS_POINTS} AS fixed,
                   (fee->>'basis_points')::numeric AS basis_points, (fee->>'minimum')::numeric AS minimum,
                   coalesce((fee->>'maximum')::numeric, {AMOUNT_MAX}) AS maximum
            FROM terms, jsonb_each(fees) AS each_fee (currency, fee)
        )
        SELECT concat_ws(' ', made.id, made.version) AS subject, coalesce(expected, 0) AS expected,
               coalesce(fee, 0) AS found
        FROM transaction_versions made JOIN batches ON batches.id = batch AND policy IS NOT NULL
        LEFT JOIN agreed
        ON bank = sender_bank AND agreed.currency = made.currency AND policy >= since
        AND (until IS NULL OR policy < until)
        LEFT JOIN LATERAL (SELECT fixed + basis_points * amount AS worth) worths ON true
        LEFT JOIN LATERAL (
            SELECT div(2 * worth + {BASIS_POINTS}, 2 * {BASIS_POINTS}) AS up,
                   mod(2 * worth + {BASIS_POINTS}, 2 * {BASIS_POINTS}) = 0 AS is_tie
        ) halves ON true
        LEFT JOIN LATERAL (SELECT least(greatest(
            CASE WHEN is_tie AND mod(up, 2) = 1 THEN up - 1 ELSE up END, minimum
        ), maximum) AS expected) charged ON true
        WHERE status = 'accepted' AND (fee IS NOT NULL OR agreed.bank IS NOT NULL) AND expected IS DISTINCT FROM fee
    """,
    "A batch is in a window if it is posted, and in none if it is not": """
        SELECT batches.id::text AS subject, (state = 'posted')::int AS expected, (window_id IS NOT NULL)::int AS found
        FROM batches WHERE (state = 'posted') <> (window_id IS NOT NULL)
        UNION ALL
        SELECT concat_ws(' ', batches.id, 'in window', window_id), 0, 1
        FROM batches WHERE NOT EXISTS (SELECT FROM windows WHERE windows.id = window_id) AND window_id IS NOT NULL
    """,
    "A window's totals are those of its entries": f"""
        SELECT concat_ws(' ', 'window', window_id, bank, currency, figure) AS subject, expected, found
        FROM ({TOTALS}) recomputed FULL JOIN window_totals AS stored USING (window_id, bank, currency), LATERAL (VALUES
            ('fees', coalesce(recomputed.fees, 0), coalesce(stored.fees, 0)),
            ('debits', coalesce(recomputed.debits, 0), coalesce(stored.debits, 0)),
            ('credits', coalesce(recomputed.credits, 0), coalesce(stored.credits, 0)),
            ('count', coalesce(recomputed.count, 0), coalesce(stored.count, 0))
        ) figures (figure, expected, found)
        WHERE expected <> found AND window_id NOT IN ({UNFINISHED})
    """,
    "A bank's balance is the sum of the nets of its unsettled windows": """
        WITH nets AS (
            SELECT bank, currency, sum(credits - debits) AS net
            FROM window_totals JOIN windows ON windows.id = window_id WHERE state <> 'settled' GROUP BY 1, 2
        )
        SELECT concat_ws(' ', bank, currency) AS subject, coalesce(net, 0) AS expected, coalesce(balance, 0) AS found
        FROM balances FULL JOIN nets USING (bank, currency) WHERE coalesce(net, 0) <> coalesce(balance, 0)
    """,
    "The latest window is open, and all before it are closed": """
        SELECT concat_ws(' ', 'window', id) AS subject, (id = latest)::int AS expected, (state = 'open')::int AS found
        FROM windows, (SELECT max(id) AS latest FROM windows) latest WHERE (id = latest) <> (state = 'open')
    """,
    "Windows that the schedule has closed follow its times": """
        SELECT concat_ws(' ', 'window', id) AS subject, 1 AS expected, 0 AS found FROM (
            SELECT id, scheduled_for, max(scheduled_for) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING EXCLUDE CURRENT ROW)
                AS before FROM windows WHERE scheduled_for IS NOT NULL
        ) scheduled WHERE scheduled_for <= before
    """,
    "A window is settled by one batch, posted in it": """
        SELECT concat_ws(' ', 'window', windows.id) AS subject, must::int AS expected,
               (batches.id IS NOT NULL)::int AS found
        FROM windows
        LEFT JOIN batches ON batches.id = settlement AND batches.state = 'posted' AND batches.window_id = windows.id,
        LATERAL (SELECT windows.state = 'settled' AND EXISTS (
            SELECT FROM window_totals WHERE window_id = windows.id AND credits <> debits
        ) AS must) nets
        WHERE must <> (batches.id IS NOT NULL) OR must <> (settlement IS NOT NULL)
    """,
    "Interest is booked by one batch, posted in its window": """
        SELECT concat_ws(' ', 'window', windows.id) AS subject, must::int AS expected,
               (batches.id IS NOT NULL)::int AS found
        FROM windows
        LEFT JOIN batches
        ON batches.id = interest_batch AND batches.state = 'posted' AND batches.window_id = windows.id,
        LATERAL (SELECT EXISTS (
            SELECT FROM window_totals WHERE window_id = windows.id AND interest <> 0
        ) AS must) interests
        WHERE must <> (batches.id IS NOT NULL) OR must <> (interest_batch IS NOT NULL)
    """,
    "A window's interest is that of balances, times and rates, rounded half to even": f"""
        WITH units AS (
            SELECT window_id, bank, currency, credit - debit AS accrued,
                   {BASIS_POINTS} * {MICROSECONDS_A_DAY} * coalesce(days, {DAYS_A_YEAR})::numeric AS unit
            FROM ({ACCRUED}) accrued LEFT JOIN (VALUES {DAYS}) days_a_year (currency, days) USING (currency)
            WHERE window_id IS NOT NULL
        ), expected AS (
            SELECT window_id, bank, currency, sign(accrued) * (whole + (
                2 * mod(abs(accrued), unit) > unit OR 2 * mod(abs(accrued), unit) = unit AND mod(whole, 2) = 1
            )::int) AS interest
            FROM units, LATERAL (SELECT div(abs(accrued), unit) AS whole) whole_units
        ), recomputed AS (
            SELECT * FROM expected
            UNION ALL SELECT window_id, '{POLKA}', currency, -sum(interest) FROM expected GROUP BY 1, 3
        )
        SELECT concat_ws(' ', 'window', window_id, bank, currency) AS subject,
               coalesce(recomputed.interest, 0) AS expected, coalesce(stored.interest, 0) AS found
        FROM recomputed FULL JOIN window_totals AS stored USING (window_id, bank, currency)
        WHERE coalesce(recomputed.interest, 0) <> coalesce(stored.interest, 0) AND window_id NOT IN ({UNFINISHED})
    """,
    "What has accrued in the open window is that of balances, times and rates": f"""
        SELECT concat_ws(' ', bank, currency, figure) AS subject, expected, found
        FROM (SELECT * FROM ({ACCRUED}) accrued WHERE window_id IS NULL) recomputed
        FULL JOIN interest_accruals AS stored USING (bank, currency), LATERAL (VALUES
            ('owed', coalesce(recomputed.debit, 0), coalesce(stored.debit, 0)),
            ('was owed', coalesce(recomputed.credit, 0), coalesce(stored.credit, 0))
        ) figures (figure, expected, found)
        WHERE expected <> found
    """,
    "A closed window's netting is that of its payments": f"""
        WITH pairs AS (
            SELECT window_id, currency, sum(amount) AS gross, abs(sum(
                CASE WHEN sender_bank < receiver_bank THEN sign * amount ELSE -sign * amount END
            )) AS net
            FROM ({MOVES}) moves JOIN batches ON batches.id = batch
            WHERE sender_bank <> receiver_bank AND window_id IN (SELECT id FROM windows WHERE is_netted)
            GROUP BY window_id, currency, least(sender_bank, receiver_bank), greatest(sender_bank, receiver_bank)
        ), nets AS (
            SELECT window_id, currency, sum(greatest(credits - debits, 0)) AS multilateral
            FROM window_totals GROUP BY 1, 2
        ), recomputed AS (
            SELECT window_id, currency, sum(gross) AS gross, sum(net) AS bilateral, min(multilateral) AS multilateral
            FROM pairs JOIN nets USING (window_id, currency) GROUP BY 1, 2
        )
        SELECT concat_ws(' ', 'window', window_id, currency, figure) AS subject, expected, found
        FROM recomputed FULL JOIN window_netting AS stored USING (window_id, currency), LATERAL (VALUES
            ('gross', coalesce(recomputed.gross, 0), coalesce(stored.gross, 0)),
            ('bilateral', coalesce(recomputed.bilateral, 0), coalesce(stored.bilateral, 0)),
            ('multilateral', coalesce(recomputed.multilateral, 0), coalesce(stored.multilateral, 0))
        ) figures (figure, expected, found)
        WHERE expected <> found
    """,
    "Each version of the policy changed the terms of one bank": """
        SELECT concat_ws(' ', 'version', made) AS subject, (made <= policy.version)::int AS expected,
               (bank IS NOT NULL)::int AS found
        FROM policy, LATERAL generate_series(1, greatest(version, (SELECT max(version) FROM bank_terms))) AS made
        LEFT JOIN bank_terms ON bank_terms.version = made
        WHERE (made <= policy.version) <> (bank IS NOT NULL)
    """,
    "The newest figures of liquidity are those of the balances": f"""
        WITH newest AS (
            SELECT DISTINCT ON (currency) currency, owes, owed, held FROM liquidity_history
            WHERE resolution = 'day' ORDER BY currency, start DESC
        )
        SELECT concat_ws(' ', currency, figure) AS subject, expected, found
        FROM ({FIGURES}) AS recomputed FULL JOIN newest USING (currency), LATERAL (VALUES
            ('owes', coalesce(recomputed.owes, 0), coalesce(newest.owes, 0)),
            ('owed', coalesce(recomputed.owed, 0), coalesce(newest.owed, 0)),
            ('held', coalesce(recomputed.held, 0), coalesce(newest.held, 0))
        ) figures (figure, expected, found)
        WHERE expected <> found AND EXISTS (SELECT FROM liquidity_history)
    """,
    "A sample of liquidity has the figures that its flushes made": f"""
        WITH changes AS (
            SELECT flush, bank, currency, sum(amount) AS amount
            FROM entries JOIN batches ON batches.id = batch AND state = 'posted'
            WHERE {COUNTS_FOR_LIQUIDITY} GROUP BY 1, 2, 3
            UNION ALL
            SELECT after, bank, currency, sum(amount) FROM span, verified_balances
            WHERE {COUNTS_FOR_LIQUIDITY} GROUP BY 1, 2, 3
        ), points AS (
            SELECT resolution, start, currency, at_flush, figure, found
            FROM span, liquidity_history, LATERAL (VALUES
                ('owes', flush, owes), ('owed', flush, owed), ('held', flush, held), ('highest', highest_flush, highest)
            ) figures (figure, at_flush, found)
            WHERE at_flush > after AND at_flush <= until
        ), balances AS (
            SELECT *, sum(amount) OVER (PARTITION BY bank, currency ORDER BY flush) AS balance FROM changes
        ), moves AS (
            SELECT currency, flush, greatest(balance, 0) - greatest(balance - amount, 0) AS owes,
                   greatest(-balance, 0) - greatest(amount - balance, 0) AS owed, 0 AS held
            FROM balances WHERE bank <> '{POLKA}'
            UNION ALL SELECT currency, flush, 0, 0, -amount FROM changes WHERE bank = '{POLKA}'
            UNION ALL SELECT DISTINCT currency, at_flush, 0, 0, 0 FROM points
        ), made AS (
            SELECT currency, flush, sum(sum(owes)) OVER flushes AS owes, sum(sum(owed)) OVER flushes AS owed,
                   sum(sum(held)) OVER flushes AS held
            FROM moves GROUP BY currency, flush WINDOW flushes AS (PARTITION BY currency ORDER BY flush)
        )
        SELECT concat_ws(' ', resolution, start, points.currency, figure) AS subject, expected, found
        FROM points JOIN made ON made.currency = points.currency AND made.flush = at_flush, LATERAL (
            SELECT CASE figure WHEN 'owes' THEN owes WHEN 'held' THEN held ELSE owed END AS expected
        ) figures
        WHERE expected <> found
    """,
    "A span of liquidity has the highest of the shorter ones in it": f"""
        SELECT concat_ws(' ', long.resolution, long.start, long.currency) AS subject,
               coalesce(max(short.highest), 0) AS expected, long.highest AS found
        FROM (VALUES
            ('minute', interval '1 minute', 'flush', NULL),
            ('hour', interval '1 hour', 'minute', now() - interval '{KEPT["minute"].days} days'),
            ('day', interval '24 hours', 'hour', now() - interval '{KEPT["hour"].days} days')
        ) steps (resolution, length, finer, kept_from)
        JOIN liquidity_history long USING (resolution)
        LEFT JOIN liquidity_history short ON short.resolution = finer AND short.currency = long.currency
            AND short.start >= long.start AND short.start < long.start + length
        GROUP BY long.resolution, long.start, long.currency, long.highest, kept_from
        HAVING long.highest < max(short.highest)
            OR (long.start >= kept_from AND long.highest IS DISTINCT FROM max(short.highest))
    """,
    "No batch is set aside": """
        SELECT id::text AS subject, 0 AS expected, size AS found FROM batches WHERE state = 'aside'
    """,
    "An answered idempotency key has its transaction": """
        SELECT concat_ws(' ', caller, key) AS subject, 1 AS expected, 0 AS found
        FROM idempotency_keys LEFT JOIN transaction_versions made
        ON made.id = transaction AND made.version = idempotency_keys.version
        WHERE transaction IS NOT NULL AND made.id IS NULL
    """,
    "Every owner of a balance or terms is a bank, or Polka itself": f"""
        SELECT DISTINCT bank AS subject, 1 AS expected, 0 AS found FROM (
            SELECT bank FROM accounts UNION SELECT bank FROM balances UNION SELECT bank FROM bank_terms
        ) holders WHERE NOT EXISTS (SELECT FROM banks WHERE name = bank) AND bank <> '{POLKA}'
    """,
}

CACHE_CHECK = "The cache's answers are the balances of the same flush"
"""A check without a query. It asks the cache."""

AMOUNTS = frozenset(
    {
        CACHE_CHECK,
        "An account's balance is the sum of its entries",
        "A bank's balance is the sum of its entries",
        "Balances of all banks sum to zero",
        "Balances of all accounts sum to zero",
        "A batch's entries are those of its transactions, or of its settlement",
        "A window's totals are those of its entries",
        "A bank's balance is the sum of the nets of its unsettled windows",
        "A window's interest is that of balances, times and rates, rounded half to even",
        "A closed window's netting is that of its payments",
        "The newest figures of liquidity are those of the balances",
        "A sample of liquidity has the figures that its flushes made",
        "A span of liquidity has the highest of the shorter ones in it",
    }
)
"""Checks that compare amounts. The subject ends with the currency, or with the currency and the name of a figure."""
SUBJECT_OF_AMOUNT = re.compile(r"(?:.* )?([A-Z]{3})(?: (?!count$)[a-z]+)?")


def currency_of(check: str, subject: str) -> str | None:
    """The currency of the compared amounts; None if the check compares no amounts."""
    found = SUBJECT_OF_AMOUNT.fullmatch(subject) if check in AMOUNTS else None
    return found[1] if found else None
