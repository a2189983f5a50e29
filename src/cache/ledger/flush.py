"""The cache's writes to the database: raising the epoch, reading the ledger, flushing.

Each transaction that changes balances holds the epoch's row FOR SHARE until its end and has checked its number. Raising
the epoch waits for these transactions, and stops all later transactions under the old number. Each transaction also
holds the open window's row, so its postings belong to this window. A balance accrues interest before it changes.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from uuid import UUID

import asyncpg
import msgspec

from cache.ledger import interest, samples
from cache.ledger.ledger import Ledger, Posted, Sums
from polka.rules.liquidity import Figures, Sample
from polka.rules.money import AMOUNT_MAX
from polka.rules.transactions import FEES, POLKA, Entry
from polka.rules.windows import SETTLED_BY_POLKA, SETTLEMENT
from polka.store.database import Connection

EPOCH = "SELECT number FROM epoch"
RAISE = "SELECT polka_raise_epoch()"
HOLD = """
SELECT epoch.number, windows.id AS window, now() AS at, flush.policy AS followed, polka_settled_policy() AS policy,
       EXISTS (SELECT FROM interest_accruals) AS bears_interest
FROM epoch, windows, flush WHERE epoch.id = 1 AND windows.state = 'open' FOR SHARE OF epoch, windows
"""
BALANCES = "SELECT bank, currency, balance FROM balances"
FLUSH_NUMBER = "SELECT number FROM flush"
DONE = "SELECT id, coalesce(flush, 0) AS flush FROM batches WHERE id >= $1 AND state IN ('posted', 'void')"
NEWEST_UNPOSTED = "SELECT id FROM batches WHERE state = 'unposted' ORDER BY id DESC LIMIT 1"
ASIDE = "SELECT id, payload FROM batches WHERE state = 'aside'"


def oldest(condition: str) -> str:
    """The oldest batches that meet the condition, up to about $2 payments.

    The subquery is an array, so Postgres evaluates it once. With `IN`, the planner searches for the oldest batches
    again for each batch, because its statistics usually show no unposted batches. After an outage a flush would never
    end.
    """
    return f"""
    {condition} AND id = ANY(ARRAY(
        SELECT id FROM (
            SELECT id, sum(size) OVER (ORDER BY id) - size AS before FROM (
                SELECT id, size FROM batches WHERE {condition} ORDER BY id LIMIT $2
            ) oldest
        ) counted
        WHERE before < $2
    ))
    """


TAKE_UNPOSTED = f"""
UPDATE batches SET state = 'posted', window_id = $1, flush = $3, posted_at = now() WHERE {oldest("state = 'unposted'")}
RETURNING id, size, payload
"""
TAKE_WINDOWLESS = f"""
UPDATE batches SET window_id = $1 WHERE {oldest("state = 'posted' AND window_id IS NULL")}
RETURNING payload
"""
SET_ASIDE = """
UPDATE batches SET state = 'aside', flush = NULL, posted_at = NULL, window_id = NULL WHERE id = ANY($1::uuid[])
"""
NUMBER_FLUSH = "UPDATE flush SET number = $1, flushed_at = now() WHERE number = $1 - 1 RETURNING number"
# Returns the changes of Polka's debts to banks and of the banks' debts to Polka. A full join is never a nested loop.
# The planner expects few rows, and would choose a nested loop otherwise.
ADD_TO_BALANCES = f"""
WITH added AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::numeric[]) AS added (bank, currency, amount)
), made AS (
    INSERT INTO balances AS held (bank, currency, balance) SELECT * FROM added
    ON CONFLICT (bank, currency) DO UPDATE SET balance = held.balance + excluded.balance
    RETURNING bank, currency, balance
)
SELECT currency, sum(greatest(balance, 0) - greatest(balance - amount, 0)) AS owes,
       sum(greatest(-balance, 0) - greatest(amount - balance, 0)) AS owed
FROM made FULL JOIN added USING (bank, currency) WHERE bank <> '{POLKA}' GROUP BY currency
"""
# Columns come as JSON, because encoding numbers as `numeric` takes thirty times as long and delays all requests.
ADD_TO_ACCOUNTS = """
INSERT INTO accounts AS held (bank, account, currency, balance)
SELECT bank, account, currency, amount::numeric FROM ROWS FROM (
    json_array_elements_text($1::json), json_array_elements_text($2::json),
    json_array_elements_text($3::json), json_array_elements_text($4::json)
) AS added (bank, account, currency, amount)
ON CONFLICT (bank, account, currency) DO UPDATE SET balance = held.balance + excluded.balance
"""
ADD_TO_TOTALS = """
INSERT INTO window_totals AS held (window_id, bank, currency, debits, credits, count, fees, interest)
SELECT $1, * FROM unnest(
    $2::text[], $3::text[], $4::numeric[], $5::numeric[], $6::bigint[], $7::numeric[], $8::numeric[]
)
ON CONFLICT (window_id, bank, currency) DO UPDATE
SET debits = held.debits + excluded.debits, credits = held.credits + excluded.credits,
    count = held.count + excluded.count, fees = held.fees + excluded.fees, interest = held.interest + excluded.interest
"""
Totals = dict[tuple[str, ...], tuple[int, int, int]]
"""The sum of debits, the sum of credits, and the number of entries, by the parts of a key."""

NOTHING = (0, 0, 0)

Amounts = Mapping[tuple[str, ...], int]
"""By bank and currency."""

NO_AMOUNTS: Amounts = {}

REFUSED_BY_DATABASE = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
"""Errors of the values themselves. A retry with the same values always fails."""


class OutdatedError(Exception):
    """Another cache has raised the epoch. This cache must never write again."""


class PoisonError(Exception):
    """The database refuses to add the entries of this batch. Nothing was changed."""

    def __init__(self, batch: Posted) -> None:
        super().__init__(f"batch {batch.id} cannot be added")
        self.batch = batch


class Held(msgspec.Struct, frozen=True):
    """The open window, which stays as it is until the transaction's end. `at` is the transaction's time.

    `bears_interest` is True if any balance bears interest.
    """

    window: int
    at: datetime
    bears_interest: bool


class Flushed(msgspec.Struct, frozen=True):
    """The result of one transaction of a flush. `is_last` is True if no visible batch remains unposted.

    `liquidity` has the day's samples of the currencies whose liquidity changed.
    """

    number: int
    at: datetime
    posted: Sequence[Posted]
    aside: Sequence[Posted]
    liquidity: Mapping[str, Sample]
    is_last: bool


async def raise_epoch(connection: Connection, own: int | None = None) -> int:
    """Become the only cache that may write and reserve. Waits for the predecessor's running flush, and for commits
    under its reservations.

    A cache that has served before passes its `own` epoch. It raises no other epoch, because it would replace its
    successor.

    Raises:
        OutdatedError: another cache has raised the epoch since.
    """
    async with connection.transaction(isolation="read_committed"):
        if own is not None and await connection.fetchval(EPOCH) != own:
            raise OutdatedError
        epoch: int = await connection.fetchval(RAISE)
        if own is not None and epoch != own + 1:
            raise OutdatedError
    return epoch


async def newest_unposted(connection: Connection) -> UUID | None:
    """The newest committed batch that is not posted yet."""
    newest: UUID | None = await connection.fetchval(NEWEST_UNPOSTED)
    return newest


async def read_ledger(connection: Connection, remember_from: UUID) -> Ledger:
    """The ledger as of the latest flush. Under the raised epoch no other cache can change the ledger."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        posted: Sums = {}
        async for row in connection.cursor(BALANCES, prefetch=5_000):
            posted.setdefault(row["bank"], {})[row["currency"]] = int(row["balance"])
        number = await connection.fetchval(FLUSH_NUMBER)
        done = {row["id"]: row["flush"] for row in await connection.fetch(DONE, remember_from)}
        aside = await connection.fetch(ASIDE)
    ledger = Ledger(posted, number, done)
    for row in aside:
        ledger.keep_aside(row["id"], readable_entries(row["payload"]))
    return ledger


async def flush(connection: Connection, epoch: int, number: int, payments_max: int) -> Flushed:
    """Post the oldest unposted batches, up to about `payments_max` payments, as flush `number`.

    Adds the payloads of the batch rows, never the contents of memory. A row with an invalid payload is set aside.

    Raises:
        OutdatedError: another cache has the epoch.
        PoisonError: the database refuses the only batch of this flush.
    """
    async with connection.transaction(isolation="read_committed"):
        held = await hold(connection, epoch)
        rows = await connection.fetch(TAKE_UNPOSTED, held.window, payments_max, number)
        posted, aside = sort_out(rows)
        liquidity: Mapping[str, Sample] = {}
        if aside:
            await connection.execute(SET_ASIDE, [batch.id for batch in aside])
        if posted:
            accounts = totals_by_account(chain.from_iterable(batch.entries for batch in posted))
            banks = totals_by_bank(accounts)
            try:
                changes = await add_to_balances(connection, held, accounts, banks)
                await add_to_window(connection, held.window, banks, fees=fees_by_bank(accounts, posted))
            except REFUSED_BY_DATABASE as error:
                if len(posted) > 1:
                    raise
                raise PoisonError(posted[0]) from error
            if not await connection.fetchval(NUMBER_FLUSH, number):
                raise OutdatedError
            liquidity = await samples.record(connection, changes, held.at, number)
    is_last = sum(row["size"] for row in rows) < payments_max
    return Flushed(number if posted else number - 1, held.at, posted, aside, liquidity, is_last)


async def set_aside(connection: Connection, epoch: int, batch: UUID) -> None:
    """Set a batch aside for good, because the database refuses its entries."""
    async with connection.transaction(isolation="read_committed"):
        await hold(connection, epoch)
        await connection.execute(SET_ASIDE, [batch])


async def adopt(connection: Connection, epoch: int, payments_max: int) -> bool:
    """Take some batches that a Polka without windows has posted into the open window; False if none are left.

    Raises:
        OutdatedError: another cache has the epoch.
    """
    async with connection.transaction(isolation="read_committed"):
        held = await hold(connection, epoch)
        rows = await connection.fetch(TAKE_WINDOWLESS, held.window, payments_max)
        entries = chain.from_iterable(readable_entries(row["payload"]) for row in rows)
        if banks := totals_by_bank(totals_by_account(entries)):
            await add_to_window(connection, held.window, banks)
    return bool(rows)


async def catch_up(connection: Connection, epoch: int) -> dict[str, Sample]:
    """Sample liquidity up to the latest flush, and return the newest samples of days, by currency.

    Raises:
        OutdatedError: another cache has the epoch.
    """
    async with connection.transaction(isolation="read_committed"):
        await hold(connection, epoch)
        return await samples.catch_up(connection)


async def hold(connection: Connection, epoch: int) -> Held:
    """Keep the epoch and the open window unchanged until the transaction's end. Interest rates that changed before the
    transaction are put in force, each from its own time on.

    Raises:
        OutdatedError: another cache has the epoch, or has closed the window meanwhile.
    """
    row = await connection.fetchrow(HOLD)
    if row is None or row["number"] != epoch:
        raise OutdatedError
    if row["policy"] == row["followed"]:
        return Held(row["window"], row["at"], row["bears_interest"])
    await interest.follow(connection, row["followed"], row["policy"])
    return Held(row["window"], row["at"], bears_interest=True)


def sort_out(rows: Iterable[asyncpg.Record]) -> tuple[list[Posted], list[Posted]]:
    """The batches that can be posted, and the others with their readable entries."""
    posted: list[Posted] = []
    aside: list[Posted] = []
    for row in rows:
        batch = Posted(row["id"], readable_entries(row["payload"]))
        (posted if is_balanced(batch.entries) else aside).append(batch)
    return posted, aside


def readable_entries(payload: str | None) -> list[Entry]:
    """The entries of a row's payload; none if the payload is invalid."""
    try:
        return decode_entries(payload or "[]")
    except ValueError:
        return []


def is_balanced(entries: Sequence[Entry]) -> bool:
    """Whether there are entries, all amounts are in range, and the entries of each currency sum to zero."""
    sums: dict[str, int] = {}
    for _, _, currency, amount in entries:
        if not -AMOUNT_MAX <= amount <= AMOUNT_MAX:
            return False
        sums[currency] = sums.get(currency, 0) + amount
    return bool(sums) and not any(sums.values())


def totals_by_account(entries: Iterable[Entry]) -> Totals:
    """By bank, account and currency. This is the one pass over all entries, of which there are thousands each
    second."""
    totals: Totals = {}
    for bank, account, currency, amount in entries:
        key = bank, account, currency
        debits, credits, count = totals.get(key, NOTHING)
        if amount < 0:
            totals[key] = debits - amount, credits, count + 1
        else:
            totals[key] = debits, credits + amount, count + 1
    return totals


def totals_by_bank(accounts: Totals) -> Totals:
    """By bank and currency, from the totals by account."""
    totals: Totals = {}
    for (bank, _, currency), (debits, credits, count) in accounts.items():
        of_bank = totals.get((bank, currency), NOTHING)
        totals[bank, currency] = of_bank[0] + debits, of_bank[1] + credits, of_bank[2] + count
    return totals


def fees_by_bank(accounts: Totals, batches: Iterable[Posted]) -> Amounts:
    """The fees of each bank less returned fees, by bank and currency. Empty without fees.

    Entries come in pairs: the bank's debit is next to Polka's credit.
    """
    fees: dict[tuple[str, ...], int] = {}
    if not any((bank, account) == (POLKA, FEES) for bank, account, _ in accounts):
        return fees
    for batch in batches:
        for (payer, _, currency, amount), (bank, account, _, _) in zip(*[iter(batch.entries)] * 2, strict=False):
            if (bank, account) == (POLKA, FEES):
                fees[payer, currency] = fees.get((payer, currency), 0) - amount
    return fees


async def add_to_balances(connection: Connection, held: Held, accounts: Totals, banks: Totals) -> dict[str, Figures]:
    """Add the nets: credits less debits. Returns the changes of Polka's liquidity, by currency."""
    if held.bears_interest:
        await interest.accrue(connection, held.at, banks)
    rows = await connection.fetch(ADD_TO_BALANCES, *columns((*key, sums[1] - sums[0]) for key, sums in banks.items()))
    added = columns((*key, str(sums[1] - sums[0])) for key, sums in accounts.items())
    await connection.execute(ADD_TO_ACCOUNTS, *(encode(column).decode() for column in added))
    return {
        row["currency"]: Figures(int(row["owes"]), int(row["owed"]), held_more(accounts, row["currency"]))
        for row in rows
    }


def held_more(accounts: Totals, currency: str) -> int:
    """The net debits of Polka's own settlement accounts: the increase of the money that Polka holds."""
    debits, credits = 0, 0
    for account in (SETTLEMENT, SETTLED_BY_POLKA):
        totals = accounts.get((POLKA, account, currency), NOTHING)
        debits, credits = debits + totals[0], credits + totals[1]
    return debits - credits


async def add_to_window(
    connection: Connection, window: int, banks: Totals, fees: Amounts = NO_AMOUNTS, earned: Amounts = NO_AMOUNTS
) -> None:
    """Add to the window's totals of each bank and currency, including fees and earned interest."""
    rows: Iterable[tuple[str | int, ...]] = (
        (*key, *sums, fees.get(key, 0), earned.get(key, 0)) for key, sums in banks.items()
    )
    await connection.execute(ADD_TO_TOTALS, window, *columns(rows))


def columns(rows: Iterable[tuple[str | int, ...]]) -> Iterable[tuple[str | int, ...]]:
    """The columns of rows that begin with their keys. The rows are sorted, so that a statement walks its index."""
    return zip(*sorted(rows), strict=True)


decode_entries = msgspec.json.Decoder(list[Entry]).decode
encode = msgspec.json.Encoder().encode
