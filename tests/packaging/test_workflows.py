"""The workflows: few permissions, an end to each job, pinned actions, and commands that exist."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
TIMEOUT_MINUTES_MAX = 90

pytestmark = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def jobs(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(file.read_text())["jobs"]
    assert found
    return found


def scripts(file: Path) -> Iterator[str]:
    yield from (step["run"] for job in jobs(file).values() for step in job["steps"] if "run" in step)


def test_every_action_is_pinned_by_a_hash_with_its_version(file: Path) -> None:
    used = [line.strip().removeprefix("- ") for line in file.read_text().splitlines() if "uses:" in line]
    assert used
    assert [line for line in used if not PINNED.fullmatch(line)] == []


def test_every_job_names_its_permissions_and_its_end(file: Path) -> None:
    workflow = yaml.safe_load(file.read_text())
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]["group"]
    for name, job in jobs(file).items():
        assert job["permissions"], name
        assert job["timeout-minutes"] <= TIMEOUT_MINUTES_MAX, name


def test_only_a_release_writes(file: Path) -> None:
    writing = {name for name, job in jobs(file).items() if "write" in job["permissions"].values()}
    assert bool(writing) == (file.stem == "release")
    assert {name for name in writing if jobs(file)[name]["permissions"].get("contents") == "write"} <= {"publish"}


def test_no_checkout_leaves_a_token_behind(file: Path) -> None:
    steps = [step for job in jobs(file).values() for step in job["steps"]]
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_no_script_holds_text_of_an_event(file: Path) -> None:
    """A name of a branch or a tag could be a command there. Variables of the environment cannot."""
    assert [script for script in scripts(file) if "${{" in script] == []


def test_every_command_of_ours_exists(file: Path) -> None:
    text = "\n".join(scripts(file))
    for target in re.findall(r"\bmake ([\w-]+)", text):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
    for program in re.findall(r"(\.ci/\w+)", text):
        assert os.access(ROOT / program, os.X_OK), program
