"""The documents against the code: what they name exists, and what is generated from the code is up to date."""

import ast
import functools
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import generate
from polka.command.main import COMMANDS
from taken import takes

ROOT = Path(__file__).parents[2]
FOLDERS = (".", "docs", "docs/decisions", "docs/runbooks", "bench", "charts/polka")
DOCUMENTS = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))
MAKEFILE = (ROOT / "Makefile").read_text()
SITE = (ROOT / "mkdocs.yml").read_text()

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
TEST = re.compile(r"((?:\w+/)?test_\w+\.py)::(\w+)")
PLACE = re.compile(r"`((?:api|cache|polka)(?:/\w+)+\.py)::(\w+)`")
FILE = re.compile(r"`([\w./-]+(?:\.py|/))`")


def named(document: Path) -> str:
    """The document's path, for people."""
    return str(document.relative_to(ROOT))


def prose(document: Path) -> str:
    return FENCE.sub("", document.read_text())


def section(document: Path, heading: str) -> str:
    """What stands under this heading."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", document.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{named(document)} has no heading {heading}"
    return found[1]


@pytest.mark.parametrize("document", generate.documents(), ids=named)
def test_what_is_generated_is_up_to_date(document: Path) -> None:
    assert document.read_text() == generate.documents()[document], "`make docs` writes it again"


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_link_leads_to_a_file(document: Path) -> None:
    targets = [link.partition("#")[0] for link in LINK.findall(prose(document)) if "://" not in link]
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_link_into_a_page_leads_to_a_heading(document: Path) -> None:
    links = [link.partition("#") for link in LINK.findall(prose(document)) if "://" not in link]
    targets = [(document.parent / page if page else document, anchor) for page, _, anchor in links if anchor]
    assert [f"{page}#{anchor}" for page, anchor in targets if anchor not in anchors(page)] == []


def anchors(document: Path) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_document_is_on_the_site(document: Path) -> None:
    assert re.search(rf"^ +- (\w[\w ]*: )?{re.escape(named(document))}$", SITE, re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_test_that_is_named_exists(document: Path) -> None:
    named_tests = TEST.findall(document.read_text())
    assert [f"{file}::{name}" for file, name in named_tests if not is_in_a_room(file, name)] == []


def is_in_a_room(file: str, name: str) -> bool:
    """Whether a file of tests has the name, in whatever room it lies: a document stays as it is when a file moves."""
    return any(name in defined_in(path) for path in (ROOT / "tests").rglob(file))


@functools.cache
def defined_in(path: Path) -> set[str]:
    """The functions, methods and classes of a file, and what it assigns to a name: tests and test cases among them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())) if path.exists() else []:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]):
                names.add(name)
    return names


def test_every_protection_names_its_place_in_the_code_and_the_test_that_holds_it() -> None:
    table = section(ROOT / "docs" / "posting.md", "What each protection is for")
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert rows
    assert [row for row in rows if not (PLACE.search(row) and TEST.search(row))] == []
    places = PLACE.findall(table)
    assert [f"{file}::{name}" for file, name in places if name not in defined_in(ROOT / "src" / file)] == []


def typed(document: Path) -> Iterator[list[str]]:
    """What a reader may type: what follows a prompt, and code between words; each as its words."""
    text = document.read_text()
    for language, block in FENCE.findall(text):
        if language == "console":
            yield from (words(line[2:]) for line in block.splitlines() if line.startswith("$ "))
    yield from map(words, SPAN.findall(FENCE.sub("", text)))


def words(command: str) -> list[str]:
    """The words of a command, up to a pipe."""
    try:
        found = shlex.split(command)
    except ValueError:  # a quotation that goes on in the next line
        found = command.split()
    return list(itertools.takewhile(lambda word: word != "|", found))


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_make_target_exists(document: Path) -> None:
    for command in typed(document):
        match command:
            case ["make", target, *variables]:
                assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), f"make {target}"
                for variable in variables:
                    name = variable.partition("=")[0]
                    assert re.search(rf"^{name} \?=", MAKEFILE, re.MULTILINE), f"make {target} {variable}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_polka_command_and_flag_exists(document: Path) -> None:
    for command in typed(document):
        match command:
            case ["polka", name, *options]:
                assert name in COMMANDS, f"polka {name}"
                assert takes(name, options), f"polka {name} {options}"
            case [option, *_] if option.startswith("--"):
                assert any(takes(name, command) for name in COMMANDS), command


def in_code_map() -> set[Path]:
    """Each file and folder that the code map names: a path from the root, or from the folder that it stands under."""
    _, *parts = re.split(r"^`(src/\w+/)`", section(ROOT / "ARCHITECTURE.md", "Code map"), flags=re.MULTILINE)
    names = set()
    for folder, text in zip(parts[::2], parts[1::2], strict=True):
        for name in FILE.findall(text):
            under = ROOT / folder / name
            names.add(under if under.exists() else ROOT / name)
    return names


def test_every_file_in_the_code_map_exists() -> None:
    assert {named(path) for path in in_code_map() if not path.exists()} == set()


def test_every_room_of_the_packages_is_in_the_code_map() -> None:
    shown = in_code_map()
    source = ROOT / "src"
    rooms = {path.parent for path in source.rglob("*.py") if len(path.relative_to(source).parts) > 2}
    assert len(rooms) > 10
    assert {named(room) for room in rooms if not shown.intersection((room, *room.parents))} == set()
