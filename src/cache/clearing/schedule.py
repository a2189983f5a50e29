"""The schedule of clearing: the times at which the cache closes the open window. Pure."""

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from polka.service.failure import Failure

ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


class Schedule:
    """The times (UTC) of a cron expression after `since`, by the rules of Debian's cron.

    The expression has five fields, or six with seconds in front. An empty expression has no times.
    """

    def __init__(self, expression: str, since: datetime) -> None:
        self._expression = expression
        self.fired(since)

    def due(self, now: datetime) -> datetime | None:
        """The latest due time that has not fired; None if no time is due. Several missed times fire once."""
        if self._next is None or now < self._next:
            return None
        return next(CronSim(self._expression, now.replace(microsecond=1), reverse=True))

    def fired(self, firing: datetime) -> None:
        """Mark this time and all earlier times as fired."""
        self._next = next(CronSim(self._expression, firing), None) if self._expression else None


def check(variable: str, expression: str) -> None:
    """Check that the variable holds a schedule.

    Raises:
        Failure: the expression is invalid, or has no time in fifty years.
    """
    try:
        if expression and next(CronSim(expression, ANY_TIME), None) is None:
            raise Failure(f"{variable}: {expression!r} names no time in fifty years.")
    except CronSimError as error:
        raise Failure(f"{variable}: {expression!r} is no cron expression: {str(error).lower()}.") from None
