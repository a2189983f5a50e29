"""The storm of `crash.py`, short: nothing is lost or doubled, whatever is killed or frozen.

`make crash` runs the same storm with a thousand kills, and executes each service. Here services are forked.
"""

from pathlib import Path

from commands import environment
from nursery import nursery_of


def test_nothing_is_lost_or_doubled_whatever_is_killed_or_frozen(tmp_path: Path) -> None:
    """The kills follow each other so closely that several processes are down at once."""
    assert_clean(tmp_path, "--seed=1", "--requests=51")


def test_every_entry_is_in_exactly_one_window_whatever_is_killed_or_frozen(tmp_path: Path) -> None:
    """With time between the kills to close and settle many windows under load; the audit looks into each."""
    assert_clean(tmp_path, "--seed=3", "--pause=5", "--requests=201", "--windows=11")


def assert_clean(folder: Path, *words: str) -> None:
    """See that a storm of eight kills ends with a good verdict."""
    log = folder / "log"
    storm = nursery_of("storm").fork(["storm", "--kills=8", *words], environment(POLKA_RATES_URL=""), log)
    try:
        code = storm.wait()
    finally:
        storm.kill()
    assert code == 0, log.read_text()
    assert "lost 0  doubled 0" in log.read_text()
