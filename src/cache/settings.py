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
    reservation_seconds: Annotated[
        Seconds,
        Meta(description="The same for a batch that has room under a cap reserved, which nobody else can use."),
    ] = 3.0
    late_seconds: Annotated[
        Seconds, Meta(description="How late a POST /balance may be: older batches are not held any more.")
    ] = 60.0
    clearing_schedule: Annotated[
        Annotated[str, Meta(max_length=200)],
        Meta(
            description="When the open window is closed and settled by itself, as a cron expression in UTC "
            "(`0 17 * * MON-FRI`); a sixth field in front is seconds. Never if empty."
        ),
    ] = ""
    rates_url: Annotated[
        str,
        Meta(
            pattern=r"^(https?://[^\s/]\S*)?\Z",
            description="Where exchange rates are fetched, in the form of the European Central Bank; nowhere if empty.",
        ),
    ] = "https://www.ecb.europa.eu/stats/eurofxref/eurofxref-daily.xml"
    rates_refresh_seconds: Annotated[
        Seconds, Meta(description="The longest pause from one look for new exchange rates to the next.")
    ] = 3_600.0
    rates_timeout_seconds: Annotated[
        Seconds, Meta(description="Bounds one fetch of the exchange rates, to the last byte.")
    ] = 10.0
    rates_change_limit_percent: Annotated[
        int,
        Meta(ge=1, le=100_000, description="Exchange rates of which one has changed by more than this are not taken."),
    ] = 50
    metrics_banks_max: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="Balances of a bank in a currency that are shown as metrics: the largest by absolute value.",
        ),
    ] = 100
    audit_seconds: Annotated[
        float, Meta(ge=0, le=86_400, description="From one run of the audit in the background to the next; never if 0.")
    ] = 60.0
    audit_payments_again: Annotated[
        Count, Meta(description="Payments that were proved before and that each run of the audit proves again.")
    ] = 20_000
    idempotency_key_seconds: Annotated[
        Seconds, Meta(description="How long an idempotency key is kept, and a repeated request answered as at first.")
    ] = 86_400.0
