"""The options of a run of the spammer, declared once for `polka spam`, for Locust's command line and for its page.

All of them reject a value with the same words.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from polka.rules import duration, money
from polka.rules.headers import is_idempotency_key
from polka.rules.money import is_currency
from polka.rules.ranges import Range

POST = "post"
OTHERS = ("patch", "get", "delete")
"""In their order after a payment."""

BETWEEN_AMOUNTS = re.compile(r"(?<=[A-Z]), *")
"""A comma behind a currency. Other commas are part of an amount."""
RUN_NAME_LENGTH_MAX = 100

BANKS, SPEED, FAULTS, OUTPUT = "Banks and terms", "Speed", "Faults", "Output"
"""Groups of options beside payments."""


class Option(Struct, frozen=True):
    """An option, with the type of its default. If the default is a tuple, the option may be repeated.

    `read` raises a ValueError for an invalid text.
    """

    name: str
    default: int | float | str | tuple[str, ...]
    help: str
    range: Range | None = None
    choices: tuple[str, ...] = ()
    read: Callable[[str], object] = str
    form: str = ""
    is_on_page: bool = True
    group: str = "Payments"
    """The heading in a help text."""

    @property
    def flag(self) -> str:
        return f"--{self.name}"

    @property
    def field(self) -> str:
        return self.name.replace("-", "_")

    @property
    def is_repeated(self) -> bool:
        return isinstance(self.default, tuple)

    @property
    def description(self) -> str:
        """The help, with the bounds."""
        return self.help if self.range is None else f"{self.help} [{self.range}]"

    @property
    def metavar(self) -> str:
        """The placeholder for a value in a help text."""
        kind = {int: "INTEGER", float: "FLOAT"}.get(type(self.default), "TEXT")
        return self.form or "|".join(self.choices) or kind

    def parse(self, text: str) -> int | float | str:
        """The value of the text. A repeated option has one text for each value.

        Raises:
            ValueError: the value is invalid.
        """
        value = self.number(text, type(self.default)) if isinstance(self.default, int | float) else text
        self.check(value)
        return value

    def number(self, text: str, kind: type[int | float]) -> int | float:
        try:
            return kind(text)
        except ValueError:
            bounds = f", {self.range}" if self.range else ""
            raise ValueError(f"must be a {'whole ' if kind is int else ''}number{bounds}.") from None

    def check(self, value: Any) -> None:
        """Check the value.

        Raises:
            ValueError: the value is invalid.
        """
        if self.range is not None and value not in self.range:
            raise ValueError(f"must be {self.range}.")
        if self.choices and value not in self.choices:
            raise ValueError(f"must be one of {', '.join(self.choices)}.")
        if isinstance(self.default, str):
            self.read(value)

    def words(self, value: Any) -> list[str]:
        """The option with this value, on a command line."""
        return [f"{self.flag}={one}" for one in (value if self.is_repeated else (value,))]


def check(values: Mapping[str, Any]) -> None:
    """Check the values of a run, by field.

    Raises:
        ValueError: a value is invalid. The message begins with the flag.
    """
    for option in OPTIONS:
        try:
            option.check(values[option.field])
        except ValueError as error:
            raise ValueError(f"{option.flag}: {error}") from None
    if values["bulk"] > 1 and values["rate"]:
        raise ValueError("--bulk: cannot be used with --rate, because payments at a rate are due one by one.")
    if values["terms"] and (lacking := set(read_currencies(values["currencies"])) - read_caps(values["cap"]).keys()):
        raise ValueError(f"--cap: has no amount in {', '.join(sorted(lacking))}.")
    if values["across"] and len(read_currencies(values["currencies"])) < 2:
        raise ValueError("--across: needs two --currencies or more.")


def read_shares(text: str) -> dict[str, int]:
    """The shares of a mix by operation, as `post=90,get=10`, of any sum.

    Raises:
        ValueError: the text is no mix.
    """
    shares: dict[str, int] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        if name not in (POST, *OTHERS) or name in shares or not share.isdecimal():
            raise ValueError(f"{part!r} is none of post, delete, patch and get with a whole number, as get=2.")
        shares[name] = int(share)
    if not shares.get(POST):
        raise ValueError("there must be payments in it, as post=90.")
    return shares


def read_currencies(text: str) -> list[str]:
    """The currencies in `text`, as `USD,EUR`.

    Raises:
        ValueError: the text names no currency, a currency twice, or an unknown currency.
    """
    currencies = text.split(",")
    for currency in currencies:
        if not is_currency(currency):
            raise ValueError(money.unknown(currency))
        if currencies.count(currency) > 1:
            raise ValueError(f"names {currency} twice.")
    return currencies


def read_caps(text: str) -> dict[str, int]:
    """The minor units by currency of amounts such as `1,000.00 USD, 5,000 JPY`.

    Raises:
        ValueError: the text is no list of amounts, or has two amounts of a currency.
    """
    caps: dict[str, int] = {}
    for part in BETWEEN_AMOUNTS.split(text):
        amount, currency = money.read(part, least=0)
        if currency in caps:
            raise ValueError(f"names {currency} twice.")
        caps[currency] = amount
    return caps


def read_run_name(text: str) -> str:
    """A part of idempotency keys.

    Raises:
        ValueError: the text cannot be part of an idempotency key.
    """
    if len(text) > RUN_NAME_LENGTH_MAX or (text and not is_idempotency_key(text.encode("utf-8", "surrogatepass"))):
        raise ValueError(f"must be {RUN_NAME_LENGTH_MAX} printable ASCII characters at most.")
    return text


OPTIONS = (
    Option("transactions", 20_000, "Payments to send in all; 0: no end.", Range(0)),
    Option(
        "banks",
        0,
        "Pay between this many banks, bank1 and so on, and open those that are missing; 0: between all banks.",
        Range(0),
        group=BANKS,
    ),
    Option("accounts", 50, "Accounts at each bank.", Range(1), group=BANKS),
    Option("currencies", "USD", "Currencies of the payments, in equal shares: USD,EUR,JPY.", read=read_currencies),
    Option("across", 0.0, "Share of the payments whose receiver gets another of the currencies.", Range(0, 1)),
    Option(
        "terms",
        0,
        "Agree a net debit cap and fees with this many of the banks, the last ones, before the run.",
        Range(0),
        group=BANKS,
    ),
    Option(
        "cap",
        "50,000.00 USD, 50,000.00 EUR, 5,000,000 JPY",
        "The most that each of them may owe: an amount for each of the currencies.",
        read=read_caps,
        form="AMOUNTS",
        group=BANKS,
    ),
    Option("seed", 1, "The same seed draws the same payments."),
    Option("skew", 0.0, "Zipf's exponent: with 1 some banks and accounts are hot.", Range(0, 100)),
    Option("mix", "post=100", "What is sent along with payments: post=90,delete=5,patch=3,get=2.", read=read_shares),
    Option("bulk", 1, "Payments in one request; more than 1 go to POST /transactions.", Range(1, 1_000), group=SPEED),
    Option("rate", 0.0, "Payments a second; 0: each client sends when it can.", Range(0, 1_000_000), group=SPEED),
    Option(
        "retries",
        40,
        "Attempts beyond the first, with the same key; 40 outlast a minute without an answer.",
        Range(0),
        group=FAULTS,
    ),
    Option(
        "run-name",
        "",
        "Part of each idempotency key: a run of the same name pays nothing twice.",
        read=read_run_name,
        group=FAULTS,
    ),
    Option("wait", "0s", "Wait this long for the api.", read=duration.read, form="DURATION", group=FAULTS),
    Option("client-timeout", 15.0, "Seconds to wait for an answer.", Range(0, is_open=True), group=FAULTS),
    Option("connect-timeout", 5.0, "Seconds to wait for a connection.", Range(0, is_open=True), group=FAULTS),
    Option("pool", 0, "Connections that the clients share; 0: one each.", Range(0), group=SPEED),
    Option("metrics-host", "127.0.0.1", "Serve /metrics at this address.", is_on_page=False, group=OUTPUT),
    Option(
        "metrics-port",
        0,
        "Serve the counts of all clients and processes at /metrics on this port; 0: on none.",
        Range(0, 65_535),
        is_on_page=False,
        group=OUTPUT,
    ),
    # Not on the page: Locust cannot read the value that its form sends for an empty list.
    Option("header", (), "`Name: value` to send along; may be repeated.", is_on_page=False),
    Option(
        "progress",
        "line",
        "How progress is shown. On a terminal `line` and `bar` are one line.",
        choices=("line", "lines", "bar", "none"),
        is_on_page=False,
        group=OUTPUT,
    ),
)
