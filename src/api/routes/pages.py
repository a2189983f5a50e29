"""Reading a list page by page: `cursor` on every route. The earlier names of `cursor` are still accepted."""

from typing import Annotated, Any, TypeVar

from litestar.params import QueryParameter

from api.http.problems import refuse
from api.http.refusals import Refusal
from polka.rules.pages import PAGE_MAX

T = TypeVar("T")

CURSOR = "The `cursor` of the page before. Without it, the first page."
OLDER_NAME: dict[str, Any] = {"description": "The older name of `cursor`.", "schema_extra": {"deprecated": True}}

Limit = Annotated[int, QueryParameter(description="The largest number of items on the page.", ge=1, le=PAGE_MAX)]


def place(cursor: T | None, older: T | None, older_name: str) -> T | None:
    """The start of the page, from either name of the parameter.

    Raises:
        RefusedError: both names are given, and differ.
    """
    if cursor is not None and older is not None and cursor != older:
        refuse(Refusal.INVALID, f"cursor: differs from {older_name}, its older name. Send cursor alone.", "cursor")
    return older if cursor is None else cursor
