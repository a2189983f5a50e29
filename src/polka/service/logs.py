"""Logs: one line an event, JSON for machines or text for people. Repeated warnings appear once in a while, with a
count.

All libraries that use Python's logging write in the same form here, and so do warnings and uncaught exceptions. A line
never contains a secret. An account of a client appears only at the level debug.
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
"""The loggers that may log below `info`. Other libraries' lines at `debug` contain headers, and therefore secrets."""
FIELDS = ("batch", "requests", "flush", "posted", "repeated")
"""The extra fields of a line: a batch's id, the ids of its requests, and the number of similar lines left out."""
SAMPLE_SECONDS = 5.0
SAMPLES = {logging.WARNING: 1, logging.ERROR: 20}
"""The number of similar lines in this time."""
KINDS_MAX = 1_000
"""The number of remembered kinds of lines."""

LEFT = "client disconnected prematurely"
"""The message of Litestar's exception after a client went away. The exception has no class of its own."""

request_id: ContextVar[str] = ContextVar("request_id")
"""The id of the running task's request."""

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
    """Log the block to stderr, by the process' settings. A Failure becomes the last line.

    Raises:
        Failure: a setting is invalid, or the block fails while lines are text. The caller then shows the failure.
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
    """Formats records as lines. `name` is the process' name."""

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
    """`2026-11-24T18:40:02.113404Z cache INFO epoch 1: serving as of flush 0`, followed by the extra fields."""
    head = f"{event.pop('timestamp')} {event.pop('process')} {event.pop('level').upper()} {event.pop('event')}"
    del event["logger"]
    exception = event.pop("exception", None)
    fields = "".join(f" {name}={value}" for name, value in event.items())
    return f"{head}{fields}\n{exception}" if exception else f"{head}{fields}"


def render_exception(exc_info: ExceptionInfo) -> str:
    """A traceback without the values of rows, which Postgres puts into the detail of an error."""
    for error in all_of(exc_info[1]):
        if isinstance(error, asyncpg.PostgresError):
            error.detail = None
    return "".join(traceback.format_exception(*exc_info)).rstrip()


def all_of(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, its causes and contexts, and all members of groups; each once.

    A group may come from one of its own members, so the graph may have a circle.
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
    """Passes a limited number of similar lines. The next passing line has the number of dropped lines.

    Lines are similar if they come from the same logger and the same line of code. The text does not matter, because an
    address in it would make each text different.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.RLock()  # several threads call a filter
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
    """Log the error with its traceback. A client that went away while sending is no error."""
    if getattr(error, "detail", None) == LEFT:
        log.info("a client went away while it sent its request")
    else:
        log.error("a request failed", exc_info=error)


def log_what_nobody_caught() -> None:
    """Log warnings, and exceptions that end a thread or the process."""

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
