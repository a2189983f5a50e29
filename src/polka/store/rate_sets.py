"""Exchange rates in the database. Rates are stored as published, never changed, and read as of a day."""

from datetime import date
from importlib.resources import files

import msgspec

from polka.rules import ecb
from polka.rules.rates import Rates, Source, StoredRates
from polka.store.database import Connection, Pool

RECORDED = "recorded_rates.xml"
"""The document of the European Central Bank in Polka's package."""


class InForce(msgspec.Struct, frozen=True):
    """The rates in force on a day, and today's date (UTC) by the database's clock."""

    stored: StoredRates | None
    today: date


IN_FORCE = """
SELECT (now() AT TIME ZONE 'UTC')::date AS today, date, version, source, stored_at, currency, rate
FROM (VALUES (1)) always
LEFT JOIN (
    SELECT * FROM (
        SELECT * FROM rate_sets WHERE $1::date IS NULL OR date <= $1 ORDER BY date DESC, version DESC LIMIT 1
    ) newest
    JOIN rates USING (date, version)
) in_force ON true
ORDER BY currency
"""

STORE = """
WITH stored AS (
    INSERT INTO rate_sets (date, version, source)
    SELECT $1, coalesce(max(version), 0) + 1, $2 FROM rate_sets WHERE date = $1
    ON CONFLICT DO NOTHING
    RETURNING date, version
)
INSERT INTO rates (date, version, currency, rate)
SELECT date, version, given.currency, given.rate FROM stored, unnest($3::text[], $4::numeric[]) given (currency, rate)
"""


async def in_force(database: Pool | Connection, on: date | None = None) -> InForce:
    """The newest rates of this day or earlier; without a day, the newest rates."""
    rows = await database.fetch(IN_FORCE, on)
    first = rows[0]
    if first["date"] is None:
        return InForce(None, first["today"])
    rates = Rates(first["date"], {row["currency"]: row["rate"] for row in rows})
    return InForce(StoredRates(rates, first["version"], Source(first["source"]), first["stored_at"]), first["today"])


async def store(connection: Connection, rates: Rates, source: Source) -> None:
    """Store the rates as the next version of their day, unless another session stores the same version now."""
    await connection.execute(STORE, rates.date, source.value, list(rates.of_euro.keys()), list(rates.of_euro.values()))


async def store_recorded(connection: Connection) -> None:
    """Store the recorded rates, unless newer recorded rates or any fetched rates are stored."""
    recorded = ecb.read(files("polka.store").joinpath(RECORDED).read_bytes())
    newest = (await in_force(connection)).stored
    if newest is None or (newest.source is Source.RECORDED and newest.rates.date < recorded.date):
        await store(connection, recorded, Source.RECORDED)
