"""API keys for operators: make, list and revoke keys (`/keys…`)."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from api.http.access import EVERYBODY, Needs
from api.http.problems import RefusedError, refuse
from api.http.refusals import UNKNOWN_KEY, Refusal
from api.routes.answers import Json
from api.routes.described import described
from api.routes.pages import CURSOR, OLDER_NAME, Limit, place
from api.routes.requests import read_json
from api.routes.transactions import read_id
from polka.rules.keys import ApiKey, ApiKeys, Caller, MadeKey, NewKey, Scope
from polka.store import api_keys
from polka.store.api_keys import NotMade
from polka.store.database import Pool
from polka.store.writers import Writers


@post(
    "/keys",
    tags=["Keys"],
    guards=[Needs(Scope.KEYS_WRITE)],
    opt=described(Refusal.UNKNOWN_BANK, body=NewKey),
)
async def create_key(
    request: Request[Any, Any, Any], caller: NamedDependency[Caller], writers: NamedDependency[Writers]
) -> Response[MadeKey]:
    """Make a key. The answer alone shows the key. Polka stores a hash.

    A new key has no scope beyond your own key, and does not outlive your own key.
    """
    if caller is EVERYBODY:
        refuse(Refusal.FORBIDDEN, "No keys are made where none are asked for: they would stay valid later.")
    data = await read_json(request, decode)
    if refused := data.refused_scopes():
        refuse(Refusal.INVALID, f"scopes: a bank's key cannot have {refused[0]}.", "scopes")
    if beyond := data.beyond(caller):
        field, reason = beyond
        refuse(Refusal.FORBIDDEN, f"{field}: {reason}.", field)
    key = api_keys.new_key()
    made = await writers.do(api_keys.create, key, data, UUID(caller.id))
    match made:
        case NotMade.UNKNOWN_BANK:
            refuse(Refusal.UNKNOWN_BANK, f"bank: there is no bank {data.bank}.", "bank")
        case NotMade.EXPIRED:
            refuse(Refusal.INVALID, "expires_at: must be in the future.", "expires_at")
        case NotMade.MAKER_NOT_IN_FORCE:
            raise RefusedError(UNKNOWN_KEY)
        case NotMade.TAKEN:
            raise RuntimeError("a new random key is there already")
    told = MadeKey(key, made.id, made.name, made.bank, made.scopes, made.created_at, made.expires_at)
    return Json(told, status_code=201, headers={"Cache-Control": "no-store"})


@get("/keys", tags=["Keys"], guards=[Needs(Scope.OPERATE)])
async def list_keys(
    pool: NamedDependency[Pool],
    cursor: Annotated[UUID | None, QueryParameter(description=CURSOR)] = None,
    after: Annotated[UUID | None, QueryParameter(**OLDER_NAME)] = None,
    limit: Limit = 100,
) -> ApiKeys:
    """All keys, including revoked keys."""
    page = await api_keys.listed(pool, place(cursor, after, "after") or api_keys.FIRST_ID, limit)
    last = page[-1].id if len(page) == limit else None
    return ApiKeys(page, last, last)


@delete("/keys/{key_id:str}", status_code=200, tags=["Keys"], guards=[Needs(Scope.KEYS_WRITE)])
async def revoke_key(
    key_id: Annotated[str, PathParameter(description="The `id` of the key.", format="uuid")],
    writers: NamedDependency[Writers],
) -> ApiKey:
    """Revoke a key. Every api rejects the key within a second. A revoked key stays revoked."""
    found = read_id(key_id)
    revoked = await writers.do(api_keys.revoke, found) if found else None
    if revoked is None:
        refuse(Refusal.NOT_FOUND, "There is no key with this id.")
    return revoked


decode = msgspec.json.Decoder(NewKey).decode
