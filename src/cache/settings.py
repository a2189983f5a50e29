"""The cache's settings, from `POLKA_…` variables."""

from typing import Annotated

from msgspec import Meta, Struct

from polka.settings import AllowLossyDatabase, CacheToken, Count, DatabaseUrl, DrainSeconds, NoAuth, Seconds


class Settings(Struct, frozen=True):
    database_url: DatabaseUrl
    cache_token: CacheToken = None
    no_auth: NoAuth = False
    allow_lossy_database: AllowLossyDatabase = False
    drain_seconds: DrainSeconds = 0.0
    flush_seconds: Annotated[Seconds, Meta(description="From one flush to the next.")] = 1.0
    flush_payments_max: Annotated[
        Count, Meta(description="Payments in one transaction of a flush, which has as many as it needs.")
    ] = 5_000
    flush_timeout_seconds: Annotated[
        Seconds, Meta(description="Bounds each statement of a flush; past it the cache starts anew.")
    ] = 10.0
    pending_seconds: Annotated[
        Seconds,
        Meta(description="How long a batch may stay pending before a tombstone asks what became of it."),
    ] = 15.0
    late_seconds: Annotated[
        Seconds, Meta(description="How late a POST /balance may be: older batches are not held any more.")
    ] = 60.0
    idempotency_key_seconds: Annotated[
        Seconds, Meta(description="How long an idempotency key is kept, and a repeated request answered as at first.")
    ] = 86_400.0
