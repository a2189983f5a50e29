"""Keys from the command line: made, listed and revoked there, and never printed where a log may keep them."""

import re
from typing import Any

import pytest

from bearers import is_refused, send
from commands import one_line
from commands import polka as command
from front_door import fetch
from polka.store import api_keys
from running import Running
from services import KEY, bearer, client, wait_for


def test_keys_are_made_listed_and_revoked_from_the_command_line(polka: Running) -> None:
    database = {"POLKA_DATABASE_URL": polka.database_url}
    made = command("keys", "create", "--name=from a terminal", "--bank=bank7", "--scope=transactions:read", **database)
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert key.removeprefix("polka_") not in made.stderr
    banks = send("GET", f"{polka.url}/banks", bearer(key)).json()["banks"]
    assert [bank["name"] for bank in banks] == ["bank7"]
    until = command("keys", "create", "--name=until", "--expires-at=2099-01-31T12:00:00Z", **database)
    assert "until 2099-01-31 12:00 UTC. Shown this once" in until.stderr
    listed = command("keys", "list", **database).stdout
    ((line, below),) = re.findall(r"^(.*  from a terminal  .*)\n(  .*)$", listed, re.MULTILINE)
    assert line.endswith("bank bank7")
    assert below.startswith("  transactions:read  made 2")
    assert key not in listed
    assert "is revoked" in command("keys", "revoke", line.split()[0], **database).stdout
    for api in polka.apis:
        wait_for("it is refused", is_refused(api.url, bearer(key)), 1)


def test_a_database_without_keys_says_so(empty_database_url: str) -> None:
    environ = {"POLKA_DATABASE_URL": empty_database_url}
    assert command("migrate", **environ).returncode == 0
    assert command("keys", "list", **environ).stdout == "There are no keys: `polka keys create` makes a key.\n"


def test_a_key_made_elsewhere_is_stored_once_and_never_printed(polka: Running) -> None:
    key = api_keys.new_key()
    environ = {"POLKA_DATABASE_URL": polka.database_url, "POLKA_NEW_KEY": key}
    words = ["keys", "create", "--name=made elsewhere", "--scope=banks:write"]

    def stored() -> list[Any]:
        return fetch(polka.database_url, "SELECT * FROM api_keys WHERE name = 'made elsewhere'")

    first = command(*words, **environ)
    rows = stored()
    assert len(rows) == 1
    again = command(*words, "--scope=operate", f"--key={key}", POLKA_DATABASE_URL=polka.database_url)
    assert stored() == rows
    assert "for operators: banks:write." in first.stdout
    assert "It was there before, and stays as it is." in again.stdout
    assert client.post(f"{polka.url}/banks", json={"name": "elsewhere"}, headers=bearer(key)).is_success
    assert "is revoked" in command("keys", "revoke", str(rows[0][0]), POLKA_DATABASE_URL=polka.database_url).stdout
    rows = stored()
    revoked = command(*words, **environ)
    assert "It was revoked, and stays so." in revoked.stdout
    assert stored() == rows
    for done in (first, again, revoked):
        assert done.returncode == 0
        assert key.removeprefix("polka_") not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "key", ["", "secret", "polka_" + "0" * 39, "polka_" + "0" * 41, "polka_" + "X" * 40, KEY + "\n"]
)
def test_a_key_of_another_form_is_refused_and_not_printed(key: str) -> None:
    said = one_line(command("keys", "create", "--name=x", POLKA_DATABASE_URL="postgresql://x", POLKA_NEW_KEY=key))
    assert said == "A key, in --key or POLKA_NEW_KEY, is polka_ and 40 hexadecimal digits in lower case."


def test_what_the_command_line_says_of_keys_that_cannot_be(polka: Running) -> None:
    database = {"POLKA_DATABASE_URL": polka.database_url}
    said = one_line(command("keys", "create", "--name=x", "--bank=nobody", **database))
    assert said == "There is no bank nobody. `polka banks` lists the banks, and `polka banks open` opens others."
    assert "operate" in one_line(command("keys", "create", "--name=x", "--bank=bank1", "--scope=operate", **database))
    assert "name" in one_line(command("keys", "create", "--name=", **database))
    assert "scope" in one_line(command("keys", "create", "--name=x", "--scope=all", **database))
    nobody = "01900000-0000-7000-8000-000000000000"
    assert one_line(command("keys", "revoke", nobody, **database)) == f"There is no key with the id {nobody}."
    key = api_keys.new_key()
    assert key not in one_line(command("keys", "revoke", key, **database))
