"""Polka's command line in tests: run to its end, run for a while, or a whole `polka up`."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner, Result

from nursery import Child, nursery_of
from polka.command.main import main
from polka.local.demo import free_layout
from services import CACHE_TOKEN, bearer, wait_for
from waiting import WAIT_SECONDS

POLKA = [sys.executable, "-m", "polka"]
NO_BROWSER = dict.fromkeys(("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def polka(*words: str, **environ: str | None) -> subprocess.CompletedProcess[str]:
    return run(words, environment(**environ))


def run(words: Sequence[str], environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `polka` with these words to its end."""
    with tempfile.TemporaryDirectory(prefix="polka-command-") as name:
        output, errors = Path(name) / "output", Path(name) / "errors"
        process = nursery_of(words[0]).fork(words, environ, output, errors)
        try:
            code = process.wait(WAIT_SECONDS)
        finally:
            process.kill()
        return subprocess.CompletedProcess(words, code, output.read_text(), errors.read_text())


def in_process(*words: str, **environ: str | None) -> Result:
    """The end of a command in this process: for commands that ask nobody, or a stand-in."""
    unset = dict.fromkeys((name for name in os.environ if name.startswith("POLKA_")), None)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        return CliRunner(env={**unset, **environ}).invoke(main, words, prog_name="polka")
    finally:
        signal.signal(signal.SIGTERM, handler)


def mistake(*words: str, code: int = 2, **environ: str | None) -> str:
    """The message about a mistake in these words."""
    done = in_process(*words, **environ)
    assert (done.exit_code, type(done.exception)) == (code, SystemExit), done
    usage, _, said = done.stderr.partition("Error: ")
    assert not usage or usage.startswith("Usage: "), done.stderr
    return said.removesuffix("\n")


def environment(**chosen: str | None) -> dict[str, str]:
    """Our environment, with only these variables of Polka."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("POLKA_")}
    given = {"POLKA_CACHE_TOKEN": CACHE_TOKEN, "POLKA_LOG_FORMAT": "text", **chosen}
    return clean | {name: value for name, value in given.items() if value is not None}


@contextmanager
def started(log: Path, *words: str, **environ: str) -> Iterator[Child]:
    """A command that runs during the block."""
    log.write_bytes(b"")
    process = nursery_of(words[0]).fork(words, environment(**environ), log)
    try:
        yield process
    finally:
        process.kill()
        process.wait(WAIT_SECONDS)


@contextmanager
def started_in(folder: Path, log: Path, *command: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program executed in its own working directory."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, env=environment(**environ))
    try:
        yield process
    finally:
        process.kill()
        process.wait(WAIT_SECONDS)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The message of an error: one line, no traceback, and a non-zero exit code."""
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    return line.removeprefix("Error: ")


class Up:
    """A `polka up` of the test's own."""

    def __init__(self, folder: Path, data: str | None, is_executed: bool, environ: Mapping[str, str]) -> None:
        layout = free_layout(2, folder, None)
        self.port, self.url = layout.port, layout.url
        self.output = folder / "output"
        words = ["up", f"--port={self.port}", f"--data={data or folder}"]
        env = environment(POLKA_CACHE_TOKEN=None, **environ)
        self.process: Child | subprocess.Popen[bytes]
        with self.output.open("wb") as output:
            if is_executed:
                self.process = subprocess.Popen([*POLKA, *words], cwd=folder, stdout=output, stderr=output, env=env)
            else:
                self.process = nursery_of("up").fork(words, env, self.output, folder=folder)

    def said(self) -> str:
        return self.output.read_text()

    def says(self, text: str) -> bool:
        return text in self.said()

    def key(self) -> dict[str, str]:
        """The header with the operator's key, from the file in the output."""
        (file,) = re.findall(r"An operator's key is in (.+), which you alone can read\.", self.said())
        return bearer(Path(file).read_text())

    def pid(self, name: str) -> int:
        """The latest pid of this process in the output."""
        return int(re.findall(rf"^{name}(?: runs again, pid)? +(\d+)", self.said(), re.MULTILINE)[-1])

    def address(self, name: str) -> str:
        """The address of this process in the output."""
        return str(re.findall(rf"^{name} +\d+ +(\S+)", self.said(), re.MULTILINE)[0])


@contextmanager
def up(folder: Path, data: str | None = None, is_executed: bool = False, **environ: str) -> Iterator[Up]:
    """A `polka up` over this folder, or over `data` relative to the folder. The processes are forked, or executed."""
    folder.chmod(0o755)
    for parent in folder.parents[:4]:
        if parent.stat().st_uid == os.geteuid():
            parent.chmod(parent.stat().st_mode | 0o011)
    running = Up(folder, data, is_executed, environ)
    try:
        wait_for("it is up", lambda: "Ctrl-C stops" in running.said() or running.process.poll() is not None)
        assert running.process.poll() is None, running.said()
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGINT)
        running.process.wait(WAIT_SECONDS)
