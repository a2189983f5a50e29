"""Samples of liquidity. The flush that changes liquidity writes the sample in the same transaction."""

from collections.abc import Mapping
from datetime import datetime

from polka.rules.liquidity import RESOLUTIONS, Figures, Resolution, Sample, changed, sampled
from polka.store.database import Connection
from polka.store.exposures import newest, read_figures

WRITE = """
INSERT INTO liquidity_history
    (resolution, currency, start, owes, owed, held, at, flush, highest, highest_at, highest_flush)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::timestamptz[], $4::numeric[], $5::numeric[], $6::numeric[], $7::timestamptz[],
    $8::bigint[], $9::numeric[], $10::timestamptz[], $11::bigint[]
)
ON CONFLICT (resolution, currency, start) DO UPDATE SET
    owes = excluded.owes, owed = excluded.owed, held = excluded.held, at = excluded.at, flush = excluded.flush,
    highest = excluded.highest, highest_at = excluded.highest_at, highest_flush = excluded.highest_flush
"""

Days = dict[str, Sample]
"""The newest sample of a day, by currency."""
Samples = dict[tuple[Resolution, str], Sample]


async def record(connection: Connection, changes: Mapping[str, Figures], at: datetime, flush: int) -> Days:
    """Write samples of the figures after these changes of a flush. Currencies with unchanged figures get no sample."""
    before = await read_newest(connection, changes)
    days = of_days(before)
    figures = {currency: changed(days.get(currency), change) for currency, change in changes.items()}
    return await write(connection, before, figures, at, flush)


async def catch_up(connection: Connection) -> Days:
    """Bring the newest samples of all currencies to the current balances. An older Polka writes no samples."""
    flush, at = await connection.fetchrow("SELECT number, flushed_at FROM flush")
    figures = await read_figures(connection)
    before = await read_newest(connection, figures)
    return of_days(before) | await write(connection, before, figures, at, flush)


async def read_newest(connection: Connection, currencies: Mapping[str, Figures]) -> Samples:
    return await newest(connection, [(resolution, currency) for currency in currencies for resolution in RESOLUTIONS])


async def write(
    connection: Connection, before: Samples, figures: Mapping[str, Figures], at: datetime, flush: int
) -> Days:
    days = of_days(before)
    made = {
        (resolution, currency): sampled(resolution, before.get((resolution, currency)), held, at, flush)
        for currency, held in sorted(figures.items())
        if currency not in days or days[currency].last != held
        for resolution in RESOLUTIONS
    }
    if made:
        await connection.execute(WRITE, *zip(*(row_of(*key, sample) for key, sample in made.items()), strict=True))
    return of_days(made)


def of_days(samples: Samples) -> Days:
    return {currency: sample for (resolution, currency), sample in samples.items() if resolution == "day"}


def row_of(resolution: Resolution, currency: str, sample: Sample) -> tuple[object, ...]:
    last, highest = sample.last, sample.highest
    return (
        *(resolution, currency, sample.start, last.owes, last.owed, last.held, sample.at, sample.flush),
        *(highest.owed, highest.at, highest.flush),
    )
