"""The wheel holds all of Polka, and every place that names a version names the same."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import polka

ROOT = Path(__file__).parents[2]
PACKAGES = ("polka", "api", "cache", "spammer")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return zipfile.ZipFile(built)


def test_the_wheel_has_every_file_of_the_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    source = ROOT / "src"
    files = [path for package in PACKAGES for path in (source / package).rglob("*") if path.is_file()]
    expected = {str(path.relative_to(source)) for path in files if "__pycache__" not in path.parts}
    assert "api/schema/examples.json" in expected
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == expected


def test_the_wheel_has_the_version_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    folder = f"polka-{polka.__version__}.dist-info"
    assert f"Version: {polka.__version__}\n" in wheel.read(f"{folder}/METADATA").decode()
    assert "polka = polka.command.main:main" in wheel.read(f"{folder}/entry_points.txt").decode()
    assert wheel.read(f"{folder}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()


def test_the_chart_has_the_version_of_polka() -> None:
    chart = yaml.safe_load((ROOT / "charts" / "polka" / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (polka.__version__, polka.__version__)


def test_the_newest_heading_of_the_changelog_is_the_version() -> None:
    versions = re.findall(r"^## (\S+)(?: \((?:unreleased|\d{4}-\d\d-\d\d)\))?$", CHANGELOG, re.MULTILINE)
    assert versions == re.findall(r"^## (\S+)", CHANGELOG, re.MULTILINE)
    assert versions[:2] == [polka.__version__, "0.1.0"]


def test_documents_name_files_and_images_of_this_version() -> None:
    named = {
        tag
        for page in (ROOT / "docs").glob("*.md")
        for tag in re.findall(r"polka[:-](\d+\.\d+\.\d+)", page.read_text())
    }
    assert named == {polka.__version__}


def test_a_release_finds_the_place_of_the_image_in_the_chart() -> None:
    """The workflow of a release writes the registry there, with `sed`."""
    values = (ROOT / "charts" / "polka" / "values.yaml").read_text()
    assert len(re.findall(r"^  repository: polka$", values, re.MULTILINE)) == 1
    assert "s|^  repository: polka$|" in (ROOT / ".github" / "workflows" / "release.yml").read_text()
