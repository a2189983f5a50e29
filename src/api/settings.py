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
        Seconds, Meta(description="Pause between two reads of new and revoked keys. NOTIFY reports changes sooner.")
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
            description="Most payments of one bank that wait for a commit. More are rejected as `overloaded`. If "
            "several banks have waiting payments, each bank may have fewer, and twice as many wait in all."
        ),
    ] = 4096
    commit_timeout_seconds: Annotated[
        Seconds, Meta(description="Limit of one commit. A caller's wait has the limit of its own timeout.")
    ] = 5.0
    request_timeout_seconds: Annotated[
        Seconds, Meta(description="Time limit of a request without a timeout of its own.")
    ] = 10.0
    direct_lane: Annotated[
        bool,
        Meta(
            description="Answer plain requests of `POST /transaction` without ASGI, in half the processor time. "
            "Without keys, and while requests are traced, ASGI answers all."
        ),
    ] = True
    recent_keys_max: Annotated[Count, Meta(description="Idempotency keys in memory. The database has all.")] = 10_000
    database_pool_size: Annotated[
        Count, Meta(description="Connections of one process for reads. Commits have another connection.")
    ] = 4
    search_pool_size: Annotated[
        Count,
        Meta(
            description="Connections of one process for searches alone, because a long search would delay other reads."
        ),
    ] = 2
    queue_reads_max: Annotated[
        Count,
        Meta(description="Most reads that wait for a connection of either pool. More are rejected as `overloaded`."),
    ] = 256
    rates_age_limit_days: Annotated[
        int,
        Meta(ge=1, le=36_500, description="Oldest exchange rates that Polka converts by, in days."),
    ] = 7
    rates_recorded: Annotated[
        bool,
        Meta(description="Convert by the rates in Polka's package, at any age, until other rates were fetched."),
    ] = True
    cache_timeout_seconds: Annotated[Seconds, Meta(description="Limit of one call to the cache.")] = 2.0
    cache_connect_timeout_seconds: Annotated[Seconds, Meta(description="Limit of a new connection to the cache.")] = 0.5
    cache_spacing_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=60,
            description="Least pause between two calls of POST /balance. The next call takes all batches of the pause.",
        ),
    ] = 0.05
    cache_connections_max: Annotated[Count, Meta(description="Most reads of one process at the cache at once.")] = 4
    control_socket: Annotated[
        str | None,
        Meta(
            description="Socket for orders of drills. `polka up` sets the socket. There are no drills without a socket."
        ),
    ] = None
    control_token: Annotated[
        str | None, Meta(description="Secret of each order of a drill. `polka up` sets the secret.")
    ] = None
