"""The types that a user's type checker finds, in strict mode."""

import pydoc
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from polka.client import AsyncClient, Client

ROOT = Path(__file__).parents[2]
USERS_CODE = """
from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from polka.client import AsyncClient, Client, Party, Payment, ProblemError, Transaction

payment = Payment(Party("bank1", "ACC1"), Party("bank2", "ACC1"), 1250)
with Client("http://127.0.0.1:8000", timeout_seconds=5) as polka:
    assert_type(polka, Client)
    made = polka.pay(payment, idempotency_key="rent")
    assert_type(made, Transaction)
    assert_type(polka.payments(bank="bank1", page_size=5), Iterator[Transaction])
    assert_type(next(polka.banks()).balances[0].posted, int)
    assert_type(polka.window(1).totals[0].net, int)
    try:
        polka.delete(made.id, reason="paid twice")
    except ProblemError as error:
        assert_type(error.code, str)
        assert_type(error.field, str | None)


async def pay() -> None:
    async with AsyncClient() as polka:
        assert_type(polka, AsyncClient)
        assert_type(await polka.pay(payment), Transaction)
        assert_type(polka.payments(), AsyncIterator[Transaction])
        async for one in polka.payments():
            assert_type(one.amount, int)
"""
MISTAKES = """
from polka.client import AsyncClient, Client, Party, Payment

payment = Payment(Party("bank1", "ACC1"), Party("bank2", "ACC1"), "12.50")
polka = Client()
polka.pay(payment, idempotence_key="rent")
polka.pay("bank1")
polka.close_window()
polka.payments(status="paid")
print(polka.pay(payment).total)


async def pay() -> None:
    print((AsyncClient().pay(payment)).amount)
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What mypy says of two programs of a user, which find Polka as an installed package."""
    folder = tmp_path_factory.mktemp("user")
    for name, code in (("right.py", USERS_CODE), ("wrong.py", MISTAKES)):
        (folder / name).write_text(code)
    words = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file=", "right.py", "wrong.py"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


def test_a_users_code_has_the_types_of_the_api(said: list[str]) -> None:
    assert [line for line in said if not line.startswith("wrong.py:")] == []


def test_a_users_mistakes_are_found(said: list[str]) -> None:
    lines = {int(line.split(":")[1]) for line in said if line.startswith("wrong.py:") and ": error: " in line}
    assert lines == {4, 6, 7, 8, 9, 10, 14}


def methods(client: type[Any]) -> set[str]:
    return {name for name in vars(client) if not name.startswith("_")} - {"close"}


def test_both_clients_have_the_methods_that_the_page_lists() -> None:
    _, table = (ROOT / "docs" / "client.md").read_text().split("## All methods\n")
    listed = re.findall(r"`(\w+)`", table.partition("\n## ")[0])
    assert methods(Client) == methods(AsyncClient) == set(listed)
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_help_shows_the_arguments_and_the_description_of_every_method(client: type[Any]) -> None:
    shown = pydoc.plain(pydoc.render_doc(client))
    assert "payment: polka.rules.transactions.Payment," in shown
    assert "Make a payment." in shown
    assert "Listing" not in shown
    assert "Call[" not in shown
