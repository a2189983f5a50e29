"""The cache's own metrics."""

import math

from prometheus_client import Counter, Gauge, Histogram

from polka.service.counting import SECONDS

EPOCH = Gauge("polka_epoch", "The epoch that this cache holds; 0 while it starts.")
STARTS = Counter("polka_cache_starts", "Times that the ledger was read anew, by reason.", ["reason"])
TOLD = Counter("polka_balance_batches", "Batches that the cache was told of, by what became of them.", ["result"])
RESERVATIONS = Counter("polka_reservations", "Batches for which room under caps was asked for, by answer.", ["answer"])
PENDING = Gauge("polka_pending_batches", "Batches that are pending.")
PENDING_OLDEST_SECONDS = Gauge(
    "polka_pending_oldest_seconds", "Age of the oldest batch that is pending and not set aside; 0 where there is none."
)
SETTLED = Counter("polka_tombstones", "Pending batches settled by a tombstone, by the row that it found.", ["state"])
FLUSHES = Counter("polka_flushes", "Transactions of flushes that were committed.")
FLUSH_SECONDS = Histogram(
    "polka_flush_seconds",
    "Time of one transaction of a flush.",
    buckets=SECONDS,
)
FLUSH_BATCHES = Histogram(
    "polka_flush_batches",
    "Batches that one transaction of a flush has posted.",
    buckets=(0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048),
)
FLUSH_NUMBER = Gauge("polka_flush_number", "The latest flush that memory has; 0 while the cache starts.")
FLUSH_AGE_SECONDS = Gauge(
    "polka_flush_age_seconds", "Since a flush was last completed, or since the process began if none was."
)
POSTED = Counter("polka_posted_batches", "Batches that were posted.")
ASIDE = Counter("polka_aside_batches", "Batches that were set aside: they cannot be posted. Each is an alarm.")
SET_ASIDE = Gauge("polka_set_aside_batches", "Batches that are set aside in the database now.")
FIRED = Counter("polka_scheduled_windows", "Windows that were closed by schedule.")
OWES = Gauge("polka_owes_minor_units", "What Polka owes its banks.", ["currency"])
OWED = Gauge("polka_owed_minor_units", "What banks owe Polka.", ["currency"])
HELD = Gauge("polka_held_minor_units", "What Polka holds.", ["currency"])
HIGHEST_OWED = Gauge("polka_highest_owed_minor_units", "The most that banks owed Polka since midnight.", ["currency"])
CONCENTRATION = Gauge(
    "polka_concentration_ratio", "The share of the largest five in what Polka is owed, or owes.", ["currency", "side"]
)
CAP_USE = Gauge(
    "polka_cap_use_ratio", "What the banks that are nearest to their caps use of them.", ["currency", "bank"]
)
BALANCES = Gauge(
    "polka_balance_minor_units",
    "What banks have posted, of the largest by absolute value: what Polka owes them, or below zero they owe it.",
    ["bank", "currency"],
)
WINDOWS = Gauge("polka_windows", "Clearing windows, by state.", ["state"])
WINDOW_OPEN_SECONDS = Gauge("polka_window_open_seconds", "Since the open clearing window was opened.")
DATABASE_CONNECTIONS = Gauge("polka_database_connections", "Connections that Postgres has, of whomever.")
DATABASE_CONNECTIONS_MAX = Gauge(
    "polka_database_max_connections", "Connections that Postgres takes, with those that it reserves for superusers."
)
DATABASE_BYTES = Gauge("polka_database_size_bytes", "Size of Polka's database.")
NETTED = Counter("polka_netted_windows", "Closed windows whose netting figures were worked out.")
PRUNED_KEYS = Counter("polka_pruned_idempotency_keys", "Idempotency keys forgotten because they are old.")
AUDIT_FAULTS = Gauge(
    "polka_audit_faults", "What the last completed audit has found; 0 is clean. No number while there was none."
)
AUDIT_FAULTS.set(math.nan)
AUDIT_SKIPPED = Gauge(
    "polka_audit_skipped",
    "Checks that the last completed audit has skipped, wholly or in part. No number while there was none.",
)
AUDIT_SKIPPED.set(math.nan)
AUDIT_COMPLETED = Gauge(
    "polka_audit_completed_timestamp_seconds",
    "When the last audit was completed; 0 while there was none, no number where the cache runs none.",
)
AUDIT_COMPLETED.set(math.nan)
AUDIT_SECONDS = Histogram(
    "polka_audit_run_seconds",
    "Time of one run of the audit, with its pauses.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
AUDIT_FAILURES = Counter("polka_audit_failures", "Audits that could not run, by reason.", ["reason"])
RATES_FETCHES = Counter("polka_rates_fetches", "Fetches of the exchange rates, by what became of them.", ["outcome"])
RATES_AGE_SECONDS = Gauge(
    "polka_rates_age_seconds",
    "Since the day of the newest exchange rates began (UTC); no number while the cache has not looked.",
)
