"""The command in the image: it is Polka's, and a child process of it runs what it is told to, not the command again."""

import re
import runpy
from pathlib import Path

import pytest

from chart.rendering import ROOT

pytestmark = pytest.mark.chart

SCRIPT = re.compile(r"printf '%s\\n' ((?:'[^']*' )+)")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """What the Dockerfile writes to /opt/polka/bin/polka."""
    found = SCRIPT.search((ROOT / "Dockerfile").read_text())
    assert found
    path = tmp_path / "polka"
    path.write_text("\n".join(re.findall(r"'([^']*)'", found[1])))
    return path


def test_it_is_polkas_command(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["polka", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    assert "load, break and watch" in capsys.readouterr().out


def test_a_process_that_python_makes_of_it_does_not_run_the_command(script: Path) -> None:
    """It imports the script under another name first."""
    runpy.run_path(str(script), run_name="__mp_main__")
