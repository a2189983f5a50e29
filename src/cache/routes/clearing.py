"""`POST /clearing` and `POST /clearing/{id}/settle`: the apis' requests to the only writer of windows.

200 with the window, 409 if its state forbids the work, 404 if the window does not exist, 503 if nothing was done. After
any other answer the outcome is unknown, and the request can be repeated safely.
"""

from collections.abc import Awaitable

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.exceptions import InternalServerException, NotFoundException, ServiceUnavailableException
from litestar.params import FromPath, JSONBody

from cache.keeping.keeper import Keeper
from cache.keeping.orders import NotServingError
from cache.ledger.flush import OutdatedError
from polka.rules.windows import Conflict, Window, WindowToClose
from polka.store import database


@post("/clearing", status_code=200)
async def close_window(data: JSONBody[WindowToClose], keeper: NamedDependency[Keeper]) -> Response[Window | Conflict]:
    """Close the window with all earlier commits, and open the next window."""
    return await done(keeper.close(data.window))


@post("/clearing/{window:int}/settle", status_code=200)
async def settle_window(window: FromPath[int], keeper: NamedDependency[Keeper]) -> Response[Window | Conflict]:
    """Bring the nets of a closed window to zero."""
    return await done(keeper.settle(window))


async def done(order: Awaitable[Window | Conflict | None]) -> Response[Window | Conflict]:
    """The answer with the outcome, or with the certainty of the failure."""
    try:
        outcome = await order
    except (NotServingError, OutdatedError):
        raise ServiceUnavailableException("Nothing was done: the cache is starting.") from None
    except database.ERRORS as error:
        if database.failed_for_sure(error):
            raise ServiceUnavailableException(f"Nothing was done: {error}") from None
        raise InternalServerException("Whether it was done is unknown.") from None
    if outcome is None:
        raise NotFoundException("There is no such window.")
    return Response(outcome, status_code=409 if isinstance(outcome, Conflict) else 200)
