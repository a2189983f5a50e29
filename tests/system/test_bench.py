"""The bench itself, small: it measures, audits, and writes its results beside those that are there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from waiting import WAIT_SECONDS

ROOT = Path(__file__).parents[2]
OTHER = "## Another measurement\n\nIts figures.\n"


@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
def test_a_measurement_replaces_its_own_section_of_the_results(tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text(f"# Old\n\n## Durable `POST /transaction` against a no-op handler\n\nOld figures.\n\n{OTHER}")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "posting", "--quick", f"--output={results}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    written = results.read_text()
    for connections, target in ((64, "1.5"), (256, "1.9")):
        assert re.search(rf"\| ratio, {connections} connections \| [\d.]+ \| .* \| ≥ {target}: ", written)
    assert re.search(r"Audit of the payments: clean \([\d,]{4,} transactions", written)
    assert "Old figures." not in written
    assert OTHER in written
