"""`POST /balance` and `GET /balance…`: the announcements and questions of apis."""

import asyncio
from typing import Annotated

from litestar import MediaType, Response, get, post
from litestar.di import NamedDependency
from litestar.exceptions import ServiceUnavailableException
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter

from cache.keeping.keeper import Keeper
from cache.keeping.orders import NotServingError
from cache.keeping.service import Service, as_of
from cache.ledger.flush import OutdatedError
from polka.rules import duration
from polka.rules.banks import Account, Accounts, Bank, Banks, Position
from polka.rules.messages import Asked, Held, PolicyToFollow, Reserved, Told
from polka.rules.pages import PAGE_MAX
from polka.store import database, positions
from polka.store.database import Pool
from polka.store.positions import with_pending

After = Annotated[str, QueryParameter()]
Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_MAX)]
RETRY_SECONDS = 0.01
ANSWER_SECONDS = 5.0
"""The longest time for an answer, regardless of the caller's limit."""

BANK_NAMES = "SELECT name FROM banks WHERE name > $1 ORDER BY name LIMIT $2"


@post("/balance", status_code=200)
async def hold_batches(data: JSONBody[list[Told]], keeper: NamedDependency[Keeper]) -> Held:
    """Hold the batches as pending until they are posted, or can never be committed."""
    return held(keeper, data)


def held(keeper: Keeper, batches: list[Told]) -> Held:
    service = serving(keeper)
    return Held(service.epoch, sum(service.announced.hold(told) for told in batches))


@post("/balance/reservation", status_code=200)
async def reserve(data: JSONBody[Asked], keeper: NamedDependency[Keeper]) -> Response[bytes]:
    """Reserve room under caps for a batch, until the batch is posted or can never be committed."""
    return as_json(await reserved(keeper, data))


async def reserved(keeper: Keeper, batch: Asked) -> Reserved:
    return (await following(keeper, batch.policy)).announced.reserve(batch)


async def following(keeper: Keeper, policy: int) -> Service:
    """The service once it decides under at least this version of the policy."""
    try:
        return await keeper.follow(policy)
    except (NotServingError, OutdatedError, *database.ERRORS):
        raise ServiceUnavailableException("The cache is starting.") from None


@post("/policy", status_code=200)
async def follow_policy(data: JSONBody[PolicyToFollow], keeper: NamedDependency[Keeper]) -> PolicyToFollow:
    """Make the cache decide under at least this version of the policy. The answer has the version."""
    return PolicyToFollow((await following(keeper, data.policy)).ledger.policy.version)


@get("/balance")
async def list_banks(
    keeper: NamedDependency[Keeper], pool: NamedDependency[Pool], after: After = "", limit: Limit = 100
) -> Response[bytes]:
    """A page of banks. Only their names come from the database."""
    names = [row["name"] for row in await pool.fetch(BANK_NAMES, after, limit)]
    service = serving(keeper)
    page = [bank_of(service, name) for name in names]
    last = names[-1] if len(names) == limit else None
    return as_json(Banks(page, last, last))


@get("/balance/{bank:str}")
async def get_bank(bank: FromPath[str], keeper: NamedDependency[Keeper]) -> Response[bytes]:
    """One bank, from memory."""
    return as_json(bank_of(serving(keeper), bank))


@get("/balance/{bank:str}/accounts")
async def list_accounts(
    bank: FromPath[str],
    keeper: NamedDependency[Keeper],
    pool: NamedDependency[Pool],
    account: Annotated[str | None, QueryParameter()] = None,
    after: After = "",
    limit: Limit = 100,
    patience: Annotated[str, HeaderParameter(name="Request-Timeout")] = "",
) -> Response[bytes]:
    """A page of accounts."""
    return as_json(await accounts_of(keeper, pool, patience, bank, account, after, limit))


async def accounts_of(
    keeper: Keeper, pool: Pool, patience: str, bank: str, account: str | None, after: str = "", limit: int = 1
) -> Accounts:
    """Balances and flush from one snapshot of the database, and the pending sums of memory on top.

    Memory must be at the same flush, because otherwise a batch would count twice, or not at all. After the caller's
    time there is no answer.
    """
    try:
        async with asyncio.timeout(min(duration.seconds(patience) or ANSWER_SECONDS, ANSWER_SECONDS)):
            while True:
                page = await positions.accounts(pool, bank, account, after, limit)
                while (service := serving(keeper)).ledger.flush < page.as_of.flush:
                    await asyncio.sleep(RETRY_SECONDS)  # memory reaches this flush in a moment
                if page.as_of.flush == service.ledger.flush:
                    return with_memory(service, page, account, after)
    except TimeoutError:
        raise ServiceUnavailableException("Memory and the database were at no flush together.") from None


def serving(keeper: Keeper) -> Service:
    if keeper.service is None:
        raise ServiceUnavailableException("The cache is starting.")
    return keeper.service


def bank_of(service: Service, name: str) -> Bank:
    held = service.ledger.bank(name)
    return Bank(name, [Position(currency, *sums) for currency, sums in held.items()], as_of(service))


def with_memory(service: Service, page: Accounts, account: str | None, after: str) -> Accounts:
    """The page with the pending sums of its accounts, and with accounts that have only pending entries."""
    pending = service.ledger.accounts_pending(page.bank)
    last = page.cursor
    here = {found.account: found.balances for found in page.accounts}
    opening: dict[str, list[Position]] = {
        name: []
        for name in pending
        if name > after and (last is None or name <= last) and (account is None or name == account)
    }
    accounts = [
        Account(name, with_pending(balances, pending.get(name, {})))
        for name, balances in sorted((opening | here).items())
    ]
    return Accounts(page.bank, accounts, as_of(service), last, last)


def as_json(answer: Bank | Banks | Accounts | Reserved) -> Response[bytes]:
    return Response(positions.encode(answer), media_type=MediaType.JSON)
