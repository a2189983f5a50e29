"""The documents from top to bottom: their commands are run in order against one Polka, and say what is shown."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from commands import environment, up
from pages import BLOCK, Session, examples
from polka.local import postgres
from shell import forked_polka

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (
    DOCS / "tour.md",
    ROOT / "README.md",
    *(DOCS / f"{name}.md" for name in ("payments", "keys", "currencies", "terms", "interest")),
    *(DOCS / f"{name}.md" for name in ("windows", "liquidity", "load", "drills", "audit", "client")),
)
"""In this order: a new user's, and then by subject."""
NOT_RUN = {"kubernetes.md": "needs a cluster", "dashboards.md": "needs Prometheus, which test_prometheus starts"}
ELSEWHERE = ("make ", "helm ", ". .venv", "polka up")
"""Commands that the test does by itself, or that another test runs."""
AS_A_USER = "README.md"
"""The page whose `polka` starts as for a user. The commands of all other pages are forked."""
COMMANDS_MIN = 60
COLUMNS = 120


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="there is no curl, or no jq")
def test_every_command_says_what_is_shown() -> None:
    with tempfile.TemporaryDirectory(prefix="polka-pages-") as name:
        folder = Path(name)
        (programs := folder / "programs").mkdir()
        with up(folder, data="a folder") as running, forked_polka(programs):
            key = running.key()["Authorization"].removeprefix("Bearer ")
            folders = (Path(sys.executable).parent, *os.environ["PATH"].split(os.pathsep), postgres.locate().folder)
            path = os.pathsep.join(map(str, folders))
            env = environment(
                POLKA_URL=running.url,
                POLKA_KEY=key,
                POLKA_DATABASE_URL=postgres.own_url(folder / "a folder"),
            )
            session = Session(running.url, folder / "a folder", env)
            shown = [
                example for page in PAGES for example in examples(page) if not example.command.startswith(ELSEWHERE)
            ]
            assert len(shown) >= COMMANDS_MIN
            differences = []
            for example in shown:
                session.env["PATH"] = path if example.page == AS_A_USER else f"{programs}{os.pathsep}{path}"
                if told := session.difference(example):
                    differences.append(told)
            assert not differences, "\n".join(differences)
        assert "Traceback" not in running.said()


def test_every_page_with_commands_is_run() -> None:
    pages = {path.name for path in DOCS.glob("*.md") if BLOCK.search(path.read_text())}
    assert pages == {path.name for path in PAGES if path.parent == DOCS} | NOT_RUN.keys()


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "tour.md"], ids=lambda page: page.name)
def test_examples_for_a_new_user_fit_a_screen(page: Path) -> None:
    assert [line for example in examples(page) for line in example.command.splitlines() if len(line) > COLUMNS] == []
