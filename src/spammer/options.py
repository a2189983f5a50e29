"""The options of a run on Locust's command line and page. `polka.rules.spam_options` declares them."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any

from polka.rules.spam_options import OPTIONS, Option


def add_to(parser: Any) -> None:
    """Add all options to Locust's parser."""
    for option in OPTIONS:
        parser.add_argument(
            option.flag,
            default=list(option.default) if isinstance(option.default, tuple) else option.default,
            type=reader(option),
            action="append" if option.is_repeated else "store",
            metavar=option.metavar,
            help=option.description,
            include_in_web_ui=option.is_on_page,
        )


def reader(option: Option) -> Callable[[str], int | float | str]:
    def read(text: str) -> int | float | str:
        try:
            return option.parse(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return read


def headers_of(options: Any) -> dict[str, str]:
    """The headers of every request, beside the key."""
    split = (line.partition(":") for line in options.header)
    return {name.strip(): value.strip() for name, _, value in split}
