"""The examples of docs/payments.md, run as they stand there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from running import Running
from services import KEY
from waiting import WAIT_SECONDS

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"


def run(polka: Running, *command: str) -> str:
    environ = os.environ | {"POLKA_URL": polka.url, "POLKA_KEY": KEY}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, timeout=WAIT_SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_shells_example(polka: Running) -> None:
    said = run(polka, "bash", "-euo", "pipefail", str(EXAMPLES / "pay.sh"))
    amended, found, many = (msgspec.json.decode(part) for part in documents(said))
    assert (amended["version"], amended["receiver"]["account"]) == (2, "ACC2")
    assert found["transactions"][0]["id"] == amended["id"]
    assert [result["status"] for result in many["results"]] == [201, 201, 201]


def documents(said: str) -> list[str]:
    """What curl has printed without a line's end between."""
    return said.replace("}{", "}\n{").splitlines()


def test_pythons_example(polka: Running) -> None:
    assert run(polka, sys.executable, str(EXAMPLES / "pay.py")).splitlines() == ["2 ACC2", "True", "[201, 201, 201]"]


@pytest.mark.parametrize("name", ["pay.sh", "pay.py"])
def test_the_page_about_payments_shows_them(name: str) -> None:
    assert (EXAMPLES / name).read_text() in (ROOT / "docs" / "payments.md").read_text()
