"""The options of a run: what Locust's command line and page show, and which values can be."""

import math
from typing import Any

from polka.rules.money import AMOUNT_MAX
from spammer.mix import read_mix

BULK_MAX = 1_000
RATE_MAX = 1_000_000
SKEW_MAX = 100
LEAST = {"pool": 0, "retries": 0, "banks": 0, "accounts": 1, "wait": 0}


def add_to(parser: Any) -> None:
    add = parser.add_argument
    add("--transactions", type=int, default=20_000, help="Payments, in all; 0: until it is stopped.")
    add("--seed", type=int, default=1, help="The same seed draws the same payments.")
    add("--skew", type=float, default=0.0, help="Zipf's exponent: with 1 some banks and accounts are hot.")
    add("--banks", type=int, default=0, help="Pay between bank1 and so on, so many, opened if need be; 0: all banks.")
    add("--currencies", default="USD", help="Of the payments, in equal shares: USD,EUR,JPY.")
    add("--across", type=float, default=0.0, help="The share of payments whose receiver gets another of these.")
    add("--terms", type=int, default=0, help="Agree caps and fees with so many banks, the last ones, before the run.")
    add("--cap", type=int, default=5_000_000, help="What each of them may owe, in minor units of each currency.")
    add("--accounts", type=int, default=1_000, help="Accounts at each bank.")
    add("--rate", type=float, default=0.0, help="Payments a second (open loop); 0: each user when it can.")
    add("--mix", default="post=100", help="What goes with payments: post=90,delete=5,patch=3,get=2.")
    add("--bulk", type=int, default=1, help="Payments in one request; more than 1 go to POST /transactions.")
    add("--retries", type=int, default=40, help="Attempts beyond the first, with the same key.")
    add("--client-timeout", type=float, default=15.0, help="Seconds to wait for an answer.")
    add("--connect-timeout", type=float, default=5.0, help="Seconds to wait for a connection.")
    add("--pool", type=int, default=0, help="Connections that the users share; 0: one each.")
    # Not on the page: what its form would send for a list without a value, Locust cannot read.
    add("--header", action="append", default=[], include_in_web_ui=False, help="`Name: value`; may be repeated.")
    add("--progress", choices=["line", "lines", "none"], default="line", include_in_web_ui=False, help="Or lines.")
    add("--run-name", default="", help="Part of each idempotency key; a repeated name repeats its run.")
    add("--metrics-host", default="127.0.0.1", include_in_web_ui=False, help="Where /metrics is served.")
    add("--metrics-port", type=int, default=0, include_in_web_ui=False, help="Its port; 0: it is not served.")
    add("--wait", type=float, default=0.0, help="Seconds to wait for an api that answers.")


def check_options(options: Any) -> None:
    """See that they can be.

    Raises:
        ValueError: one of them cannot.
    """
    read_mix(options.mix)
    if not 0 <= options.cap <= AMOUNT_MAX:
        raise ValueError(f"--cap: must be 0 to {AMOUNT_MAX}.")
    if not options.transactions >= 0:
        raise ValueError("--transactions: must be 0 or more.")
    if not 0 <= options.rate <= RATE_MAX:
        raise ValueError(f"--rate: must be 0 to {RATE_MAX} payments a second.")
    if not 1 <= options.bulk <= BULK_MAX:
        raise ValueError(f"--bulk: must be 1 to {BULK_MAX}.")
    for name, least in LEAST.items():
        if not getattr(options, name) >= least:
            raise ValueError(f"--{name}: must be {least} or more.")
    for name in ("client_timeout", "connect_timeout"):
        if not 0 < getattr(options, name) < math.inf:
            raise ValueError(f"--{name.replace('_', '-')}: must be more than 0 seconds.")
    if not 0 <= options.skew <= SKEW_MAX:
        raise ValueError(f"--skew: must be 0 to {SKEW_MAX}.")
    if options.bulk > 1 and options.rate:
        raise ValueError("--bulk: goes without --rate, whose payments are due one by one.")


def headers_of(options: Any) -> dict[str, str]:
    """What goes along with every request, beside the key."""
    split = (line.partition(":") for line in options.header)
    return {name.strip(): value.strip() for name, _, value in split}
