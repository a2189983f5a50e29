"""The cache's own metrics."""

import math

from prometheus_client import Counter, Gauge, Histogram

from polka.service.counting import SECONDS

EPOCH = Gauge("polka_epoch", "The epoch of this cache. 0 during the start.")
STARTS = Counter("polka_cache_starts", "Times that the ledger was read again, by reason.", ["reason"])
TOLD = Counter("polka_balance_batches", "Batches in calls of POST /balance, by result.", ["result"])
RESERVATIONS = Counter("polka_reservations", "Requests for room under caps, by answer.", ["answer"])
PENDING = Gauge("polka_pending_batches", "Pending batches.")
PENDING_OLDEST_SECONDS = Gauge(
    "polka_pending_oldest_seconds",
    "Age of the oldest pending batch, without set aside batches. 0 without pending batches.",
)
SETTLED = Counter(
    "polka_tombstones", "Pending batches settled by a tombstone, by the state of the batch's row.", ["state"]
)
FLUSHES = Counter("polka_flushes", "Committed transactions of flushes.")
FLUSH_SECONDS = Histogram(
    "polka_flush_seconds",
    "Time of one transaction of a flush.",
    buckets=SECONDS,
)
FLUSH_BATCHES = Histogram(
    "polka_flush_batches",
    "Batches posted by one transaction of a flush.",
    buckets=(0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048),
)
FLUSH_NUMBER = Gauge("polka_flush_number", "The latest flush in memory. 0 during the start.")
FLUSH_AGE_SECONDS = Gauge(
    "polka_flush_age_seconds",
    "Seconds since the last completed flush. Before the first flush, seconds since the start of the process.",
)
POSTED = Counter("polka_posted_batches", "Posted batches.")
ASIDE = Counter("polka_aside_batches", "Batches that were set aside, because nothing can post them. Each is an alarm.")
SET_ASIDE = Gauge("polka_set_aside_batches", "Batches in the database that are set aside now.")
FIRED = Counter("polka_scheduled_windows", "Windows closed by schedule.")
OWES = Gauge("polka_owes_minor_units", "Debt of Polka to banks.", ["currency"])
OWED = Gauge("polka_owed_minor_units", "Debt of banks to Polka.", ["currency"])
HELD = Gauge("polka_held_minor_units", "Money that Polka holds.", ["currency"])
HIGHEST_OWED = Gauge("polka_highest_owed_minor_units", "Highest debt of banks to Polka since midnight.", ["currency"])
CONCENTRATION = Gauge(
    "polka_concentration_ratio",
    "Share of the largest five banks in the debt to Polka, or in the debt of Polka.",
    ["currency", "side"],
)
CAP_USE = Gauge(
    "polka_cap_use_ratio", "Used share of the cap, of the banks nearest to their caps.", ["currency", "bank"]
)
BALANCES = Gauge(
    "polka_balance_minor_units",
    "Posted balances, the largest by absolute value. Above zero Polka owes the bank, below zero the bank owes Polka.",
    ["bank", "currency"],
)
WINDOWS = Gauge("polka_windows", "Clearing windows, by state.", ["state"])
WINDOW_OPEN_SECONDS = Gauge("polka_window_open_seconds", "Age of the open clearing window.")
DATABASE_CONNECTIONS = Gauge("polka_database_connections", "All open connections of Postgres.")
DATABASE_CONNECTIONS_MAX = Gauge(
    "polka_database_max_connections", "Most connections of Postgres, with the reserve for superusers."
)
DATABASE_BYTES = Gauge("polka_database_size_bytes", "Size of Polka's database.")
NETTED = Counter("polka_netted_windows", "Closed windows with computed netting figures.")
PRUNED_KEYS = Counter("polka_pruned_idempotency_keys", "Expired idempotency keys that were removed, approximately.")
AUDIT_FAULTS = Gauge(
    "polka_audit_faults", "Findings of the last completed audit. 0 is clean. No number before the first audit."
)
AUDIT_FAULTS.set(math.nan)
AUDIT_SKIPPED = Gauge(
    "polka_audit_skipped",
    "Checks that the last completed audit skipped, wholly or in part. No number before the first audit.",
)
AUDIT_SKIPPED.set(math.nan)
AUDIT_COMPLETED = Gauge(
    "polka_audit_completed_timestamp_seconds",
    "Time of the last completed audit. 0 before the first audit, no number without a background audit.",
)
AUDIT_COMPLETED.set(math.nan)
AUDIT_SECONDS = Histogram(
    "polka_audit_run_seconds",
    "Time of one run of the audit, with its pauses.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
AUDIT_FAILURES = Counter("polka_audit_failures", "Failed runs of the audit, by reason.", ["reason"])
RATES_FETCHES = Counter("polka_rates_fetches", "Fetches of the exchange rates, by outcome.", ["outcome"])
RATES_AGE_SECONDS = Gauge(
    "polka_rates_age_seconds",
    "Seconds since the day of the newest exchange rates began (UTC). No number before the first look.",
)
