"""The locks hold what pyproject.toml asks for and nothing else, all in the same versions."""

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DEV, RUN, IMAGE, SITE = (ROOT / f"requirements{name}.txt" for name in ("-dev", "-run", "", "-docs"))
PACKAGES_MAX = 80
"""What `make demo` may install, Polka itself included."""
PINNED = re.compile(
    r"^([a-z0-9-]+)==(\S+)(?: ; (.+?))? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


def pins(lock: Path) -> dict[str, tuple[str, str | None, str]]:
    """Version, marker and hashes of each package."""
    found = PINNED.findall(lock.read_text())
    return {name: (version, marker or None, hashes) for name, version, marker, hashes in found}


def locked_here(lock: Path) -> set[str]:
    """The packages of the lock that a machine like this one installs."""
    return {name for name, (_, marker, _) in pins(lock).items() if marker is None or Marker(marker).evaluate()}


def needed(extras: set[str], group: str | None = None) -> set[str]:
    """All packages that Polka with these extras needs on a machine like this one, and those that they need."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(f"polka[{','.join(extras)}]")]
    waiting += [Requirement(text) for text in PROJECT["dependency-groups"].get(group, [])]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) not in found:
                found.add((name, extra))
                waiting += asked_for_by(name, extra)
    return {name for name, _ in found} - {"polka"}


def asked_for_by(name: str, extra: str) -> Iterator[Requirement]:
    """What a package asks for, for this extra alone or (`""`) always."""
    if name == "polka":
        project = PROJECT["project"]
        texts = project["optional-dependencies"][extra] if extra else project["dependencies"]
    else:
        texts = metadata.requires(name) or []
    for requirement in map(Requirement, texts):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


@pytest.mark.parametrize(
    ("lock", "extras", "group"),
    [(DEV, {"dev"}, None), (RUN, {"local"}, "build"), (IMAGE, {"spammer", "traces"}, None)],
    ids=["dev", "run", "image"],
)
def test_a_lock_holds_what_is_needed_and_nothing_else(lock: Path, extras: set[str], group: str | None) -> None:
    assert locked_here(lock) == needed(extras, group)


@pytest.mark.parametrize("lock", [RUN, IMAGE, SITE], ids=lambda lock: lock.stem)
def test_a_package_has_one_version_in_all_locks(lock: Path) -> None:
    dev = pins(DEV)
    shared = {name: pin for name, pin in pins(lock).items() if name in dev}
    assert shared
    assert [
        name for name, (version, _, hashes) in shared.items() if (version, hashes) != (dev[name][0], dev[name][2])
    ] == []


@pytest.mark.parametrize("lock", [DEV, RUN, IMAGE, SITE], ids=lambda lock: lock.stem)
def test_a_lock_is_versions_and_hashes_alone(lock: Path) -> None:
    assert PINNED.sub("", lock.read_text()) == ""


def test_the_demo_needs_few_packages() -> None:
    assert len(locked_here(RUN)) + 1 <= PACKAGES_MAX


def test_the_build_uses_the_locked_backend() -> None:
    assert PROJECT["build-system"]["requires"] == PROJECT["dependency-groups"]["build"]
