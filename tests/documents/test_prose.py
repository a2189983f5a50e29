"""How the documents read: few pronouns that make a reader rebuild a sentence, and lines that fit a screen."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "SECURITY.md")),
    *(path for folder in (DOCS, DOCS / "decisions", DOCS / "runbooks") for path in sorted(folder.glob("*.md"))),
]
GENERATED = {DOCS / name for name in ("settings.md", "metrics.md", "problems.md")}
README_BYTES = 8_000
COLUMNS = 120

PRONOUNS = {"it", "one", "so", "such", "that", "what", "whoever", "which"}
SHARE_MAX = 0.05
CODE = re.compile(r"^\s*```.*?^\s*```|`[^`]*`", re.MULTILINE | re.DOTALL)
ADDRESS = re.compile(r"\]\([^)]*\)")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def words(text: str) -> list[str]:
    """The words of the prose, without code and addresses of links."""
    return re.findall(r"[a-z']+", ADDRESS.sub("]", CODE.sub(" ", text)).lower())


def test_words_are_those_of_the_prose_alone() -> None:
    assert words("See [it](that.md), `which`.\n```\nwhat\n```\nso.") == ["see", "it", "so"]


@pytest.mark.parametrize("page", [page for page in PAGES if page not in GENERATED], ids=named)
def test_few_words_are_pronouns(page: Path) -> None:
    found = words(page.read_text())
    pronouns = [word for word in found if word in PRONOUNS]
    assert len(pronouns) <= SHARE_MAX * len(found), f"{len(pronouns)} of {len(found)} words"


@pytest.mark.parametrize("page", [page for page in PAGES if page not in GENERATED], ids=named)
def test_lines_of_prose_fit_a_screen(page: Path) -> None:
    prose = re.sub(r"^\s*```.*?^\s*```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert [
        line for line in prose.splitlines() if len(line) > COLUMNS and not line.lstrip().startswith(("|", "<"))
    ] == []


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").stat().st_size <= README_BYTES
