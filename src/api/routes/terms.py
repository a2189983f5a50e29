"""Changing a bank's terms (`PATCH /banks/{name}`). After the answer, no payment under the old terms commits."""

import asyncio
import contextlib
from typing import Any

import asyncpg
import msgspec
from litestar import Request, Response, patch
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.cache_client import CacheClient
from api.http import problems
from api.http.access import Needs
from api.http.problems import RefusedError, explain_fact
from api.http.refusals import TERMS_UNCHANGED, Refusal, Refused
from api.posting.policies import Policies
from api.routes.answers import as_json
from api.routes.banks import KnownBanks, bank_with_terms, need
from api.routes.described import described
from api.routes.requests import OWN_HEAD, read_body, read_head
from api.settings import Settings
from polka.rules.banks import BankWithTerms
from polka.rules.keys import Caller, Scope
from polka.rules.messages import PolicyToFollow
from polka.rules.policy import Policy, Terms, TermsError, TermsPatch, amended
from polka.store import bank_terms
from polka.store.database import Pool
from polka.store.writers import Writers

RETRY_SECONDS = 0.1
FOLLOW_SECONDS = 2.0


@patch(
    "/banks/{name:str}",
    tags=["Banks"],
    guards=[Needs(Scope.BANKS_WRITE)],
    opt=OWN_HEAD | described(body=TermsPatch),
)
async def change_terms(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    caller: NamedDependency[Caller],
    cache: NamedDependency[CacheClient],
    pool: NamedDependency[Pool],
    writers: NamedDependency[Writers],
    known_banks: NamedDependency[KnownBanks],
    policies: NamedDependency[Policies],
    settings: NamedDependency[Settings],
) -> Response[BankWithTerms]:
    """Change a bank's terms, by a JSON Merge Patch (RFC 7396).

    From the answer on, the terms hold everywhere. Payments decided under the old terms are committed before the answer,
    or never. A change without an effect makes no new version. While the cache is down, payments under a cap wait.
    """
    head = read_head(request.scope, settings.request_timeout_seconds)
    await head.in_time(need(caller, known_banks, name))
    change = problems.read(decode, await read_body(head, request.receive))
    await change_in_time(writers, name, change, caller.name, head.deadline)
    await have_followed(cache, await policies.read(), head.seconds_left)
    return as_json(await bank_with_terms(cache, pool, policies, name))


async def change_in_time(writers: Writers, bank: str, change: dict[str, Any], by: str, deadline: float) -> None:
    """Make the change as soon as commits in flight allow the change. Each attempt waits for a short time.

    Raises:
        RefusedError: the terms are invalid, or the deadline (of the event loop's time) has passed without a change.
    """
    loop = asyncio.get_running_loop()
    while True:
        agreed = await writers.do(bank_terms.of_bank, bank)
        terms = terms_after(agreed.terms, change)
        if terms == agreed.terms:
            return
        try:
            if await writers.do(bank_terms.change, bank, agreed, terms, by):
                return
        except asyncpg.LockNotAvailableError:
            pass
        if loop.time() + RETRY_SECONDS > deadline:
            raise RefusedError(TERMS_UNCHANGED)
        await asyncio.sleep(RETRY_SECONDS)


async def have_followed(cache: CacheClient, policy: Policy, seconds: float) -> None:
    """Send the policy to the cache at once. Otherwise the cache reads the policy within a second."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(min(seconds, FOLLOW_SECONDS)):
            await cache.order("/policy", PolicyToFollow, PolicyToFollow(policy.version))


def terms_after(terms: Terms, change: dict[str, Any]) -> Terms:
    try:
        return amended(terms, change)
    except TermsError as error:
        detail, field = explain_fact(error.fact, error.place)
        raise RefusedError(Refused(Refusal.INVALID, detail, field)) from None


decode = msgspec.json.Decoder(dict[str, Any]).decode
