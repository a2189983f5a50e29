"""How documents, docstrings and comments read: few pronouns, and lines that fit a screen."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCES = [
    path for folder in ("src", "bench", "docs", "tests/stands") for path in sorted((ROOT / folder).rglob("*.py"))
]
PACKAGES = sorted({path.parent for path in SOURCES})
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md")),
    *(path for folder in (DOCS, DOCS / "decisions", DOCS / "runbooks") for path in sorted(folder.glob("*.md"))),
]
GENERATED = {DOCS / name for name in ("settings.md", "metrics.md", "problems.md")}
README_BYTES = 8_000
COLUMNS = 120

PRONOUNS = {"it", "one", "so", "such", "that", "what", "whoever", "which"}
SHARE_MAX = 0.05
CODE = re.compile(r"^\s*```.*?^\s*```|`[^`]*`", re.MULTILINE | re.DOTALL)
ADDRESS = re.compile(r"\]\([^)]*\)")
DIRECTIVE = re.compile(r"# *(noqa|type): *\S*")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def words(text: str) -> list[str]:
    """The words of the prose, without code and addresses of links."""
    return re.findall(r"[a-z']+", ADDRESS.sub("]", CODE.sub(" ", text)).lower())


def docstrings(source: str) -> list[str]:
    """All strings that stand alone: docstrings, and descriptions of constants and fields."""
    return [
        node.value.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]


def comments(source: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [DIRECTIVE.sub("", token.string) for token in tokens if token.type == tokenize.COMMENT]


def too_many_pronouns(text: str) -> str | None:
    """The count of pronouns and words; None if the share is small."""
    found = words(text)
    pronouns = [word for word in found if word in PRONOUNS]
    return f"{len(pronouns)} of {len(found)} words" if len(pronouns) > SHARE_MAX * len(found) else None


def test_words_are_those_of_the_prose_alone() -> None:
    assert words("See [it](that.md), `which`.\n```\nwhat\n```\nso.") == ["see", "it", "so"]


@pytest.mark.parametrize("page", [page for page in PAGES if page not in GENERATED], ids=named)
def test_few_words_are_pronouns(page: Path) -> None:
    assert too_many_pronouns(page.read_text()) is None


def test_texts_of_code_are_its_docstrings_and_comments() -> None:
    source = '"""Module."""\nLIMIT = 1\n"""Of it."""\ntext = "that"  # noqa: S105  # which\n'
    assert docstrings(source) == ["Module.", "Of it."]
    assert words(" ".join(comments(source))) == ["which"]


@pytest.mark.parametrize("package", PACKAGES, ids=named)
def test_few_words_of_docstrings_are_pronouns(package: Path) -> None:
    texts = [text for path in package.glob("*.py") for text in docstrings(path.read_text())]
    assert too_many_pronouns("\n".join(texts)) is None


def test_few_words_of_comments_are_pronouns() -> None:
    texts = [text for path in SOURCES for text in comments(path.read_text())]
    assert too_many_pronouns("\n".join(texts)) is None


@pytest.mark.parametrize("page", [page for page in PAGES if page not in GENERATED], ids=named)
def test_lines_of_prose_fit_a_screen(page: Path) -> None:
    prose = re.sub(r"^\s*```.*?^\s*```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert [
        line for line in prose.splitlines() if len(line) > COLUMNS and not line.lstrip().startswith(("|", "<"))
    ] == []


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").stat().st_size <= README_BYTES
