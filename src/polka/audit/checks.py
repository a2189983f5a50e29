"""What must hold in a Polka's database, as queries for what is wrong. Pure: texts alone.

A check reads tables by their names. So it holds for a part of them as well, where a name stands for some of the rows:
`polka.audit.passes` goes through all that was posted in steps. What came before a step is in the relations `span` and
`verified_…`; for the whole audit, which begins with the first payment, they are empty (FROM_THE_BEGINNING).
"""

from polka.rules.interest import BOOKED_BY_POLKA, DAYS_A_YEAR, DAYS_A_YEAR_OF, INTEREST, MICROSECONDS_A_DAY
from polka.rules.liquidity import KEPT
from polka.rules.money import AMOUNT_MAX, EXPONENTS
from polka.rules.policy import BASIS_POINTS
from polka.rules.rates import EURO
from polka.rules.transactions import CONVERSION, FEES, POLKA
from polka.rules.windows import SETTLED_BY_POLKA, SETTLEMENT
from polka.store.exposures import FIGURES

FROM_THE_BEGINNING = """
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
# Each version has its entries in its batch; what replaced it has reversed them in another.
VERSIONS = """
    SELECT batch, 1 AS sign, sender_bank, sender_account, receiver_bank, receiver_account, currency, amount,
           receiver_currency, receiver_amount, fee
    FROM transaction_versions WHERE status = 'accepted'
    UNION ALL
    SELECT reversal_batch, -1, sender_bank, sender_account, receiver_bank, receiver_account, currency, amount,
           receiver_currency, receiver_amount, fee
    FROM transaction_history
"""
# A version moves its amount to the receiver, or across currencies to Polka's own account, which pays the receiver. Its
# fee moves to Polka. What windows say of interest moves between Polka and a bank.
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
ENTRIES = f"""
    SELECT batch, sender_bank AS bank, sender_account AS account, currency, -sign * amount AS amount
    FROM ({MOVES}) moves
    UNION ALL
    SELECT batch, receiver_bank, receiver_account, currency, sign * amount FROM ({MOVES}) moves
"""
# What the settled windows say that was posted to settle them.
NETS = """
    SELECT settlement AS batch, bank, currency, credits - debits AS net
    FROM window_totals JOIN windows ON windows.id = window_id WHERE settlement IS NOT NULL
"""
ALL_ENTRIES = f"""
    {ENTRIES}
    UNION ALL SELECT batch, bank, '{SETTLED_BY_POLKA}', currency, -net FROM ({NETS}) nets WHERE net <> 0
    UNION ALL SELECT batch, '{POLKA}', '{SETTLEMENT}', currency, net FROM ({NETS}) nets WHERE net <> 0
"""
PAYLOADS = """
    SELECT id AS batch, state, entry->>0 AS bank, entry->>1 AS account, entry->>2 AS currency,
           (entry->>3)::numeric AS amount
    FROM batches, json_array_elements(payload) AS entry
"""
DAYS = ", ".join(f"('{currency}', {days})" for currency, days in DAYS_A_YEAR_OF.items())
# What must have accrued, by bank and currency: `debit` and `credit` in minor units × microseconds × basis points. For
# each window that the span has closed, and for the one that is open then (null) up to where it has accrued. A balance
# stood for a piece of time, which ended with a flush, with the closing of a window, or where it has accrued.
ACCRUED = f"""
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
        FROM ({ALL_ENTRIES}) entries JOIN batches ON batches.id = batch AND state = 'posted'
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
            WHERE least(ended, until) > greatest(began, since)
        ) passed
        UNION ALL
        SELECT (SELECT min(id) FROM windows, span WHERE id >= first_window AND state <> 'open' AND flush <= until),
               bank, currency, debit, credit, at
        FROM verified_interest
    ) parts
    GROUP BY 1, 2, 3
"""
# A window of which not all is in the span.
UNFINISHED = """
    SELECT id FROM windows, span
    WHERE id < first_window OR CASE WHEN state = 'open' THEN NOT is_present ELSE flush > until END
"""
# What the entries in the span make of the totals of windows.
NEW_TOTALS = f"""
    SELECT window_id, bank, currency, sum(greatest(-amount, 0)) AS debits, sum(greatest(amount, 0)) AS credits,
           sum(count) AS count, sum(fee) AS fees
    FROM (
        SELECT batch, bank, currency, amount, 1 AS count, 0 AS fee FROM ({ENTRIES}) entries
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
# What each payment across currencies is worth by the rates that it names, exactly: `worth` divided by `unit`. Amounts
# and rates are those of its first version, so each version is rounded as the payment's row says. That row is looked up
# by its key, because a step of the audit has few versions and must not read the whole table.
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
# Each check is a query for what is wrong: its subject, what it should be, and what it is.
CHECKS = {
    "An account's balance is the sum of its entries": f"""
        WITH recomputed AS (
            SELECT bank, account, currency, sum(amount) AS amount FROM ({ALL_ENTRIES}) entries GROUP BY 1, 2, 3
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
            SELECT bank, currency, sum(amount) AS amount FROM ({ALL_ENTRIES}) entries GROUP BY 1, 2
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
            SELECT batch, bank, account, currency, amount AS made, 0 AS said FROM ({ALL_ENTRIES}) entries
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
            FROM ({ALL_ENTRIES}) entries JOIN batches ON batches.id = batch AND state = 'posted'
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
    "Whoever has a balance or terms is a bank, or Polka itself": f"""
        SELECT DISTINCT bank AS subject, 1 AS expected, 0 AS found FROM (
            SELECT bank FROM accounts UNION SELECT bank FROM balances UNION SELECT bank FROM bank_terms
        ) holders WHERE NOT EXISTS (SELECT FROM banks WHERE name = bank) AND bank <> '{POLKA}'
    """,
}
