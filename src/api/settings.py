"""The api's settings, from `POLKA_…` variables."""

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
    cache_url: Annotated[str, Meta(description="Where the cache listens.")] = "http://127.0.0.1:8100"
    cache_token: CacheToken = None
    no_auth: NoAuth = False
    keys_poll_seconds: Annotated[
        Seconds, Meta(description="From one look for new and revoked keys to the next; NOTIFY tells of them sooner.")
    ] = 0.3
    rate_per_second: Annotated[
        Count, Meta(description="Requests a second of one bank, or of one key of operators, in each process.")
    ] = 10_000
    rate_burst: Annotated[
        Count, Meta(description="Requests of one bank, or of one key of operators, at once, in each process.")
    ] = 20_000
    allow_lossy_database: AllowLossyDatabase = False
    drain_seconds: DrainSeconds = 0.0
    name: Name = ""
    batch_size_max: Annotated[int, Meta(ge=1, le=4096, description="Payments in one commit, at most.")] = 512
    queue_payments_max: Annotated[
        Count,
        Meta(
            description="Payments of one bank that wait for a commit, at most; more are refused as `overloaded`. Where "
            "several banks have payments waiting, each may have fewer, and in all at most twice as many wait."
        ),
    ] = 4096
    commit_timeout_seconds: Annotated[
        Seconds, Meta(description="Bounds one commit; what a caller waits is bounded by its own timeout.")
    ] = 5.0
    request_timeout_seconds: Annotated[
        Seconds, Meta(description="What a caller waits that names no timeout of its own.")
    ] = 10.0
    direct_lane: Annotated[
        bool,
        Meta(
            description="Answer plain requests of `POST /transaction` without ASGI, in half the processor time. "
            "Without keys, and while requests are traced, all go by ASGI."
        ),
    ] = True
    recent_keys_max: Annotated[
        Count, Meta(description="Idempotency keys remembered in memory; all are in the database.")
    ] = 10_000
    database_pool_size: Annotated[
        Count, Meta(description="Connections of one process for reads, beside the one that commits.")
    ] = 4
    search_pool_size: Annotated[
        Count, Meta(description="Connections of one process for searches: long ones hold no other read up.")
    ] = 2
    queue_reads_max: Annotated[
        Count,
        Meta(description="Reads that wait for a connection of either pool, at most; more are refused as `overloaded`."),
    ] = 256
    rates_age_limit_days: Annotated[
        int,
        Meta(ge=1, le=36_500, description="Nothing is converted by exchange rates that are older than this many days."),
    ] = 7
    rates_recorded: Annotated[
        bool,
        Meta(description="Convert by the rates that ship with Polka, at any age, while none were ever fetched."),
    ] = True
    cache_timeout_seconds: Annotated[Seconds, Meta(description="Bounds one call to the cache.")] = 2.0
    cache_connect_timeout_seconds: Annotated[Seconds, Meta(description="Bounds connecting to the cache.")] = 0.5
    cache_spacing_seconds: Annotated[
        float,
        Meta(ge=0, le=60, description="From one POST /balance to the next, at least: batches between go together."),
    ] = 0.05
    cache_connections_max: Annotated[
        Count, Meta(description="How many reads of one process the cache gets at once.")
    ] = 4
    control_socket: Annotated[
        str | None,
        Meta(description="Where `polka up`, which sets it, takes orders for drills; without it there are none."),
    ] = None
    control_token: Annotated[str | None, Meta(description="What `polka up`, which sets it, wants with each order.")] = (
        None
    )
