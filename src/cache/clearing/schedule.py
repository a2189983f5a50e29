"""The schedule of clearing: at which times the open window is closed by itself. Pure."""

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from polka.service.failure import Failure

ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


class Schedule:
    """The times (UTC) of a cron expression, as Debian's cron has them, that come after `since`.

    Five fields, or six of which the first is seconds. An empty expression has no times.
    """

    def __init__(self, expression: str, since: datetime) -> None:
        self._expression = expression
        self.fired(since)

    def due(self, now: datetime) -> datetime | None:
        """The latest time that has come, if it was not fired: of several that were missed, one."""
        if self._next is None or now < self._next:
            return None
        return next(CronSim(self._expression, now.replace(microsecond=1), reverse=True))

    def fired(self, firing: datetime) -> None:
        """Leave this time behind, and all before it."""
        self._next = next(CronSim(self._expression, firing), None) if self._expression else None


def check(variable: str, expression: str) -> None:
    """See that the variable holds a schedule.

    Raises:
        Failure: it does not, or its times never come.
    """
    try:
        if expression and next(CronSim(expression, ANY_TIME), None) is None:
            raise Failure(f"{variable}: {expression!r} names no time in fifty years.")
    except CronSimError as error:
        raise Failure(f"{variable}: {expression!r} is no cron expression: {str(error).lower()}.") from None
