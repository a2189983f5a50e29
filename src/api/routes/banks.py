"""Banks: a list, new banks, the positions of banks and accounts, and a bank's terms (`/banks…`)."""

import asyncio
import contextlib
from collections.abc import Sequence, Set
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from api.cache_client import CacheClient
from api.http.access import Needs
from api.http.problems import refuse
from api.http.refusals import Refusal
from api.posting.policies import Policies
from api.routes.answers import Json, as_json
from api.routes.described import described
from api.routes.pages import CURSOR, OLDER_NAME, Limit, place
from api.routes.requests import read_json
from polka.rules.banks import Accounts, Banks, BankWithTerms, NewBank
from polka.rules.keys import Caller, Scope
from polka.rules.policy import TermsPatch
from polka.rules.transactions import POLKA, is_bank_name
from polka.store import barrier, database, positions
from polka.store.database import Connection, Pool
from polka.store.writers import Writers

Cursor = Annotated[str | None, QueryParameter(description=CURSOR, max_length=64)]
After = Annotated[str | None, QueryParameter(max_length=64, **OLDER_NAME)]

TERMS_SECONDS = 1.0

OPEN = "INSERT INTO banks (name) VALUES ($1) ON CONFLICT DO NOTHING RETURNING name"
FOUND = barrier.after("SELECT name FROM banks WHERE name = $1")
EXIST = "SELECT name FROM banks WHERE name = ANY($1)"


class KnownBanks:
    """The names of all banks known to this process. A bank is never deleted.

    Payments need the names, so lookups do not use the readers' pool, which may be busy.
    """

    def __init__(self, writers: Writers) -> None:
        self._writers = writers
        self._names: set[str] = set()

    def has(self, *names: str) -> bool:
        """Whether all of these names are known here, without a query."""
        return self._names.issuperset(names)

    async def exists(self, name: str) -> bool:
        """Whether the bank exists. The database is asked about an unknown name."""
        await self.meet({name})
        return name in self._names

    async def meet(self, names: Set[str]) -> None:
        """Look up the unknown names in the database, in a single query."""
        if strangers := [name for name in names - self._names if is_bank_name(name)]:
            self._names.update(await self._writers.do(existing, strangers))


async def existing(connection: Connection, names: Sequence[str]) -> list[str]:
    """The names of banks among these names."""
    return [row["name"] for row in await connection.fetch(EXIST, names)]


@get("/banks", tags=["Banks"], guards=[Needs(Scope.TRANSACTIONS_READ)])
async def list_banks(
    caller: NamedDependency[Caller],
    cache: NamedDependency[CacheClient],
    pool: NamedDependency[Pool],
    cursor: Cursor = None,
    after: After = None,
    limit: Limit = 100,
) -> Response[Banks]:
    """All banks by name, with the credit (> 0) or debt (< 0) of each. A bank's key sees its own bank alone."""
    begin = place(cursor, after, "after") or ""
    if caller.bank is not None:
        own = [await position(cache, pool, caller.bank)] if begin < caller.bank else []
        page = {"banks": [msgspec.Raw(bank) for bank in own], "cursor": None, "next": None}
        return as_json(msgspec.json.encode(page))
    known = await cache.ask("/balance", {"after": begin, "limit": limit})
    return as_json(with_cursor(known) if known else positions.encode(await positions.banks(pool, begin, limit)))


@post(
    "/banks",
    tags=["Banks"],
    guards=[Needs(Scope.BANKS_WRITE)],
    opt=described(Refusal.CONFLICT, body=NewBank),
)
async def open_bank(request: Request[Any, Any, Any], writers: NamedDependency[Writers]) -> Response[NewBank]:
    """Open a bank. Its accounts open with their first payments."""
    data = await read_json(request, decode)
    if data.name == POLKA:
        refuse(Refusal.CONFLICT, f"name: {POLKA} is Polka's own name.", "name")
    if not await writers.do(insert_bank, data.name):
        refuse(Refusal.CONFLICT, f"name: there is a bank {data.name} already.", "name")
    return Json(data, status_code=201, headers={"Location": f"/banks/{quote(data.name)}"})


async def insert_bank(connection: Connection, name: str) -> bool:
    """Open the bank. False if the bank was open before. An open bank stays open after any failure."""
    if await connection.fetchval(OPEN, name):
        return True
    await connection.execute(FOUND, name)
    return False


@get("/banks/{name:str}", tags=["Banks"], guards=[Needs(Scope.TRANSACTIONS_READ)])
async def get_bank(
    name: FromPath[str],
    caller: NamedDependency[Caller],
    cache: NamedDependency[CacheClient],
    pool: NamedDependency[Pool],
    known_banks: NamedDependency[KnownBanks],
    policies: NamedDependency[Policies],
) -> Response[BankWithTerms]:
    """One bank, with its position in each currency and its terms."""
    await need(caller, known_banks, name)
    return as_json(await bank_with_terms(cache, pool, policies, name))


@get("/banks/{name:str}/accounts", tags=["Banks"], guards=[Needs(Scope.TRANSACTIONS_READ)])
async def list_accounts(
    name: FromPath[str],
    caller: NamedDependency[Caller],
    cache: NamedDependency[CacheClient],
    pool: NamedDependency[Pool],
    known_banks: NamedDependency[KnownBanks],
    account: Annotated[
        str | None, QueryParameter(description="This one alone.", pattern=r"^[A-Za-z0-9]{1,34}\Z")
    ] = None,
    cursor: Cursor = None,
    after: After = None,
    limit: Limit = 100,
) -> Response[Accounts]:
    """The bank's accounts by id, or the account `account`."""
    await need(caller, known_banks, name)
    begin = place(cursor, after, "after") or ""
    params: dict[str, str | int] = {"account": account} if account else {"limit": limit}
    if begin:
        params["after"] = begin
    if known := await cache.ask(f"/balance/{quote(name)}/accounts", params):
        return as_json(with_cursor(known))
    return as_json(positions.encode(await positions.accounts(pool, name, account, begin, limit)))


def with_cursor(page: bytes) -> bytes:
    """The cache's page with `cursor`, which a cache of an older version leaves out."""
    if b'"cursor":' in page:
        return page
    known = msgspec.json.decode(page, type=dict[str, msgspec.Raw])
    return msgspec.json.encode(known | {"cursor": known.get("cursor", known.get("next"))})


async def need(caller: Caller, known_banks: KnownBanks, name: str) -> None:
    """Check that the bank exists. A caller without the right to see the bank learns nothing."""
    if not caller.acts_for(name):
        refuse(Refusal.FORBIDDEN, f"The key is one of {caller.bank}, which sees no other bank.")
    if not await known_banks.exists(name):
        refuse(Refusal.NOT_FOUND, f"There is no bank {name}.")


async def position(cache: CacheClient, pool: Pool, name: str) -> bytes:
    bank = await cache.ask(f"/balance/{quote(name)}")
    return bank or positions.encode(await positions.bank(pool, name))


async def bank_with_terms(cache: CacheClient, pool: Pool, policies: Policies, name: str) -> bytes:
    """A `BankWithTerms` as JSON. The cache's encoded position is copied.

    If the database does not answer, the terms are the terms known here, which may be outdated for a moment.
    """
    held = msgspec.json.decode(await position(cache, pool, name), type=dict[str, msgspec.Raw])
    with contextlib.suppress(*database.ERRORS):
        async with asyncio.timeout(TERMS_SECONDS):
            await policies.read()
    agreed = policies.current.agreed(name)
    terms = {field: getattr(agreed.terms, field) for field in TermsPatch.__struct_fields__}
    return msgspec.json.encode({**held, **terms, "terms_version": agreed.version, "terms_since": agreed.since})


decode = msgspec.json.Decoder(NewBank).decode
