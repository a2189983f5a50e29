"""`python -m bench.blind api …`: the command `polka` without metrics and logs, as the base of a comparison.

Counters and logs are replaced before the import of a service. Remaining calls do nothing.
"""

import logging
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from polka.command.main import main
from polka.service import instrumentation, metrics
from polka.service.counting import Count, Times


def nothing(*_: Any, **__: Any) -> None: ...


async def no_task(*_: Any) -> None: ...


def as_it_is(app: Any) -> Any:
    return app


def take_out() -> None:
    for kind in (Counter, Gauge, Histogram, Count, Times):
        for name in ("inc", "set", "set_function", "observe"):
            if hasattr(kind, name):
                setattr(kind, name, nothing)
    for place, name, instead in (
        (instrumentation, "Instrumented", as_it_is),
        (metrics, "watch_loop", no_task),
    ):
        setattr(place, name, instead)
    logging.disable()

    from api.console.pulse import Heart  # its imports find no counters
    from cache.chores import readings
    from cache.routes import overview

    setattr(Heart, "run", no_task)  # noqa: B010
    setattr(overview.Watch, "run", no_task)  # noqa: B010
    setattr(readings, "read_database", no_task)  # noqa: B010


if __name__ == "__main__":
    take_out()
    main()
