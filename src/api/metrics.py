"""The api's own metrics."""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from polka.service.counting import SECONDS, Count, Counts, Histograms

OPERATIONS = Counts(
    "polka_operations",
    "Payments, amendments, deletions and bulk requests, by outcome.",
    ["operation", "outcome"],
)


@cache
def operation(name: str, outcome: str) -> Count:
    return OPERATIONS.labels(name, outcome)


COMMIT_SECONDS = Histogram(
    "polka_commit_seconds",
    "Time of one commit of a batch.",
    buckets=SECONDS,
)
COMMIT_PAYMENTS = Histogram(
    "polka_commit_payments",
    "Payments and changes in one commit.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)
COMMIT_FAILURES = Counter("polka_commit_failures", "Failed commits, by reason.", ["reason"])
QUEUE = Gauge("polka_queue_payments", "Payments waiting for the next commit, by lane.", ["lane"])
QUEUE_MAX = Gauge(
    "polka_queue_max_payments", "Most waiting payments of one bank. More are rejected as `overloaded`.", ["lane"]
)
QUEUE_WAIT_SECONDS = Histograms(
    "polka_queue_wait_seconds", "Time from a payment's or change's arrival to the start of its commit.", ["lane"]
)
TELLS = Counter("polka_balance_posts", "Calls of POST /balance, by their result.", ["result"])
ASKS = Counter("polka_reservation_posts", "Calls of POST /balance/reservation, by their result.", ["result"])
TELL_SECONDS = Histogram("polka_balance_post_seconds", "Time of one answered call of POST /balance.", buckets=SECONDS)
ASK_SECONDS = Histogram(
    "polka_reservation_post_seconds",
    "Time of one answered call of POST /balance/reservation.",
    buckets=SECONDS,
)
UNTOLD = Counter("polka_untold_batches", "Batches never reported to the cache, because the cache was down.")
CONSOLES = Gauge("polka_open_consoles", "Open consoles at this api.")
