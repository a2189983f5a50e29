"""Drills (`/drills`): killing a process of a local Polka to see that nothing is lost.

`polka up` runs drills, because `polka up` outlives the asked api. Other installations have no drills.
"""

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency

from api.http.access import Needs
from api.http.local import only_from_this_site
from api.http.problems import refuse
from api.http.refusals import Refusal
from api.routes.described import described
from api.routes.requests import read_json
from api.settings import Settings
from polka.local import control
from polka.local.control import Answer
from polka.rules.drills import Drills, DrillToStart, Target
from polka.rules.keys import Scope


@get(
    "/drills",
    tags=["Drills"],
    guards=[Needs(Scope.OPERATE), only_from_this_site],
    opt=described(Refusal.NOT_FOUND, Refusal.CONTROL_AWAY),
)
async def list_drills(settings: NamedDependency[Settings]) -> Drills:
    """Possible targets, the running drill, and the results of the last drills, with `polka up` alone."""
    return (await ask(settings)).drills


@post(
    "/drills",
    status_code=202,
    tags=["Drills"],
    guards=[Needs(Scope.OPERATE), only_from_this_site],
    opt=described(Refusal.NOT_FOUND, Refusal.CONTROL_AWAY, Refusal.CONFLICT, body=DrillToStart),
)
async def start_drill(request: Request[Any, Any, Any], settings: NamedDependency[Settings]) -> Drills:
    """Kill the cache, an api or Postgres under load, and check that nothing is lost.

    `polka up` starts the process again. The drill pays before, meanwhile and after, and compares the acknowledged with
    the stored payments. Drills run one at a time.
    """
    order = await read_json(request, decode)
    answer = await ask(settings, order.target)
    if answer.refused:
        refuse(Refusal.CONFLICT, answer.refused)
    return answer.drills


async def ask(settings: Settings, target: Target | None = None) -> Answer:
    if not settings.control_socket or not settings.control_token:
        refuse(Refusal.NOT_FOUND, "There are no drills here: they are for a Polka that `polka up` runs on one machine.")
    try:
        return await control.ask(settings.control_socket, settings.control_token, target)
    except (OSError, TimeoutError, ValueError):
        refuse(Refusal.CONTROL_AWAY, "`polka up`, which runs drills, does not answer.")


decode = msgspec.json.Decoder(DrillToStart).decode
