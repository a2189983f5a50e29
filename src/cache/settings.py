"""The cache's settings, from `POLKA_…` variables."""

from typing import Annotated

from msgspec import Meta, Struct

from polka.service.settings import (
    AllowLossyDatabase,
    CacheToken,
    Count,
    DatabaseUrl,
    DrainSeconds,
    Name,
    NoAuth,
    Seconds,
)


class Settings(Struct, frozen=True):
    database_url: DatabaseUrl
    cache_token: CacheToken = None
    no_auth: NoAuth = False
    allow_lossy_database: AllowLossyDatabase = False
    drain_seconds: DrainSeconds = 0.0
    name: Name = ""
    flush_seconds: Annotated[Seconds, Meta(description="Pause between two flushes.")] = 1.0
    flush_payments_max: Annotated[
        Count,
        Meta(description="Payments in one transaction of a flush. A flush has as many transactions as necessary."),
    ] = 5_000
    flush_timeout_seconds: Annotated[
        Seconds,
        Meta(description="Limit of each statement of a flush. After a longer statement the cache starts again."),
    ] = 10.0
    pending_seconds: Annotated[
        Seconds,
        Meta(description="Age at which a tombstone settles a pending batch."),
    ] = 15.0
    reservation_seconds: Annotated[
        Seconds,
        Meta(description="The same age for a batch with reserved room under a cap. No other batch can use the room."),
    ] = 3.0
    late_seconds: Annotated[
        Seconds, Meta(description="Longest delay of a POST /balance. The cache rejects older batches.")
    ] = 60.0
    clearing_schedule: Annotated[
        Annotated[str, Meta(max_length=200)],
        Meta(
            description="Times at which the cache closes and settles the open window, as a cron expression in UTC "
            "(`0 17 * * MON-FRI`). A sixth field in front is seconds. Empty: never."
        ),
    ] = ""
    rates_url: Annotated[
        str,
        Meta(
            pattern=r"^(https?://[^\s/]\S*)?\Z",
            description="Source of exchange rates, in the form of the European Central Bank. Empty: no source.",
        ),
    ] = "https://www.ecb.europa.eu/stats/eurofxref/eurofxref-daily.xml"
    rates_refresh_seconds: Annotated[
        Seconds, Meta(description="Longest pause between two fetches of exchange rates.")
    ] = 3_600.0
    rates_timeout_seconds: Annotated[
        Seconds, Meta(description="Limit of one fetch of the exchange rates, to the last byte.")
    ] = 10.0
    rates_change_limit_percent: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Largest change of a rate. A fetch with a larger change of any rate is rejected.",
        ),
    ] = 50
    metrics_banks_max: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="Number of balances in the metrics: the largest by absolute value, by bank and currency.",
        ),
    ] = 100
    audit_seconds: Annotated[
        float, Meta(ge=0, le=86_400, description="Pause between two runs of the background audit. 0: never.")
    ] = 60.0
    audit_payments_again: Annotated[
        Count, Meta(description="Old payments that each run of the audit proves again.")
    ] = 20_000
    idempotency_key_seconds: Annotated[
        Seconds,
        Meta(
            description="Shortest lifetime of an idempotency key. The longest is about twice as long. A repeated "
            "request gets the first answer for this time."
        ),
    ] = 86_400.0
