"""Logs: one line an event, JSON for machines or text for people; repeated warnings once in a while, with their number.

Whatever writes through Python's logging comes out here in the same form, and so do warnings and what nobody caught.
Nothing that a line says may be a secret, or an account of a client above the level debug.
"""

import logging
import os
import sys
import threading
import time
import traceback
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from types import TracebackType
from typing import Annotated, Any

import asyncpg
import structlog
from msgspec import Meta, Struct
from structlog.stdlib import ExtraAdder, ProcessorFormatter, add_log_level, add_logger_name
from structlog.typing import EventDict, WrappedLogger

from polka.service import settings
from polka.service.failure import Failure
from polka.service.settings import Name

log = logging.getLogger(__name__)

OURS = ("polka", "api", "cache")
"""The loggers that may say more than `info`: others' lines at `debug` have headers, and so secrets, in them."""
FIELDS = ("batch", "requests", "flush", "posted", "repeated")
"""What a line may have beside its text, as `extra`: a batch's id, its requests' ids, how many like it were left out."""
SAMPLE_SECONDS = 5.0
SAMPLES = {logging.WARNING: 1, logging.ERROR: 20}
"""How many lines of the same kind go out in that time."""
KINDS_MAX = 1_000
"""How many kinds of lines are remembered."""

LEFT = "client disconnected prematurely"
"""What Litestar's exception says where a client went away: it has no class of its own."""

request_id: ContextVar[str] = ContextVar("request_id")
"""The id of the request that the running task answers."""

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class LogFormat(Enum):
    JSON = "json"
    TEXT = "text"


class LogLevel(Enum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Settings(Struct, frozen=True):
    log_format: Annotated[
        LogFormat | None,
        Meta(description="How lines of the log are written. Without it `text` on a terminal, `json` elsewhere."),
    ] = None
    log_level: Annotated[LogLevel, Meta(description="The least that is logged.")] = LogLevel.INFO
    name: Name = ""

    @property
    def is_json(self) -> bool:
        return not sys.stderr.isatty() if self.log_format is None else self.log_format is LogFormat.JSON


@contextmanager
def opened(service: str) -> Iterator[None]:
    """Have all that the block logs go to stderr, as the process' settings say; a Failure is its last line.

    Raises:
        Failure: a setting is wrong, or the block fails where lines are text: whoever shows commands shows that.
    """
    chosen = settings.read(Settings, os.environ)
    configure(chosen, chosen.name or service)
    try:
        yield
    except Failure as failure:
        if not chosen.is_json:
            raise
        log.critical("%s", failure)
        sys.exit(failure.exit_code)


def configure(chosen: Settings, name: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(name, chosen.is_json))
    handler.addFilter(Sampling(time.monotonic))
    level = logging.getLevelNamesMapping()[chosen.log_level.name]
    logging.basicConfig(handlers=[handler], level=max(logging.INFO, level), force=True)
    for ours in OURS:
        logging.getLogger(ours).setLevel(level)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    log_what_nobody_caught()


def formatter(name: str, is_json: bool) -> logging.Formatter:
    """Makes a line of a record; `name` is the process'."""

    def add_process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["process"] = name
        return event

    return ProcessorFormatter(
        foreign_pre_chain=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            add_process,
            add_log_level,
            add_logger_name,
            add_request,
            ExtraAdder(FIELDS),
        ],
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.ExceptionRenderer(render_exception),
            structlog.processors.JSONRenderer() if is_json else render_text,
        ],
    )


def add_request(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if known := request_id.get(None):
        event["request"] = known
    return event


def render_text(_: WrappedLogger, __: str, event: EventDict) -> str:
    """`2026-11-24T18:40:02.113404Z cache INFO epoch 1: serving as of flush 0`, and what else there is behind it."""
    head = f"{event.pop('timestamp')} {event.pop('process')} {event.pop('level').upper()} {event.pop('event')}"
    del event["logger"]
    exception = event.pop("exception", None)
    fields = "".join(f" {name}={value}" for name, value in event.items())
    return f"{head}{fields}\n{exception}" if exception else f"{head}{fields}"


def render_exception(exc_info: ExceptionInfo) -> str:
    """A traceback without the values of rows, which Postgres tells as the detail of an error."""
    for error in all_of(exc_info[1]):
        if isinstance(error, asyncpg.PostgresError):
            error.detail = None
    return "".join(traceback.format_exception(*exc_info)).rstrip()


def all_of(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, all exceptions that it came from, and all members where it is a group; each once.

    A group may come from one of its own members, so this can be a circle.
    """
    seen: set[int] = set()
    left = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        left += (one.__cause__, one.__context__)
        if isinstance(one, BaseExceptionGroup):
            left += one.exceptions


class Sampling(logging.Filter):
    """Lets some lines of the same kind pass in a while; the next line that passes says how many did not.

    A kind is a logger and the line of code that logs. The text does not count: it may have an address in it, which
    makes each text a new one.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.RLock()  # a filter is called by several threads
        self._begun: OrderedDict[tuple[str, str, int], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        most = SAMPLES.get(record.levelno)
        if most is None:
            return True
        with self._lock:
            return self._passes(record, most)

    def _passes(self, record: logging.LogRecord, most: int) -> bool:
        kind, now = (record.name, record.pathname, record.lineno), self._clock()
        began, count = self._begun.get(kind, (now, 0))
        if now - began < SAMPLE_SECONDS:
            self._begun[kind] = began, count + 1
            if len(self._begun) > KINDS_MAX:
                self._begun.popitem(last=False)
            return count < most
        self._begun[kind] = now, 1
        self._begun.move_to_end(kind)
        if count > most:
            record.repeated = count - most
        return True


def log_failed_request(log: logging.Logger, error: Exception) -> None:
    """What broke, with its traceback; a client that went away while it sent its request has broken nothing."""
    if getattr(error, "detail", None) == LEFT:
        log.info("a client went away while it sent its request")
    else:
        log.error("a request failed", exc_info=error)


def log_what_nobody_caught() -> None:
    """Have warnings, and exceptions that end a thread or the process, written as lines of the log too."""

    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            log.critical("the process ends", exc_info=(kind, error, trace))

    def end_thread(ended: threading.ExceptHookArgs) -> None:
        log.error("a thread ends", exc_info=ended.exc_value)

    def go_on(unraisable: Any) -> None:
        log.error("an exception is ignored", exc_info=unraisable.exc_value)

    def warn(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any) -> None:
        log.warning("%s: %s (%s:%d)", category.__name__, message, filename, lineno)

    sys.excepthook = end
    threading.excepthook = end_thread
    sys.unraisablehook = go_on
    warnings.showwarning = warn
