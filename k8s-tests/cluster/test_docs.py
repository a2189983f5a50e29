"""docs/kubernetes.md, command by command: what it tells people to type is typed here."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.release import ROOT, TAG, Release
from polka import __version__

pytestmark = pytest.mark.cluster

BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BEFORE = "set -euo pipefail; trap 'kill $(jobs -p) 2>/dev/null || true' EXIT; set -x\n"


def test_every_command_of_the_documentation_works(make_release: Callable[[], Release], tmp_path: Path) -> None:
    """Those that make a cluster and an image are not among them: that has been done otherwise."""
    release = make_release()
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM polka:{TAG}\nLABEL documentation=yes\n")
    release.cluster.machines.load(f"polka:{__version__}", folder)
    kubeconfig = tmp_path / "kubeconfig"  # of its own: they change it
    kubeconfig.write_bytes(Path(os.environ["KUBECONFIG"]).read_bytes())
    for name in ("charts", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    script = BEFORE + "".join(BLOCK.findall((ROOT / "docs/kubernetes.md").read_text()))
    script = script.replace("--namespace polka", f"--namespace {release.namespace}")
    assert "helm install" in script
    environ = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=600
    )
    print(done.stdout[-6000:])
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("The audit is clean.") == 3
