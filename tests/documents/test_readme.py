"""The README from top to bottom: its commands are run in order against one Polka, and say what is shown."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from commands import environment, up
from polka.local import postgres

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```(console|bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ELSEWHERE = ("make ", "helm ", ". .venv", "polka up")
"""What the test does by itself, or another test does."""
ASKS_AN_API = re.compile(r"^polka (spam|drill \w+|clearing \w+)")
COMMANDS_MIN = 30
POSTED_SECONDS = 120.0

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
VARYING = {
    UUID: UUID,
    r"polka_[0-9a-f]{4}…[0-9a-f]{4}": r"polka_[0-9a-f]{40}",
    r"\d{4}-\d\d-\d\dT[\d:.]+Z": r"\d{4}-\d\d-\d\dT[\d:.]+Z",
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
    r"date: [^\n]*": r"date: [^\n]*",
    r"content-length: \d+": r"content-length: \d+",
    r"x-request-id: \S+": r"x-request-id: \S+",
    r'"(?:flush|posted|pending)":-?\d+': r'"(?:flush|posted|pending)":-?\d+',
    r" … ": r".*",
}
"""What another run shows otherwise, and how it looks there."""
MEASURED = re.compile(r"\d[\d,.]*")
"""Numbers of a drill."""


@dataclass(frozen=True)
class Example:
    """A command as the README shows it, and what it says then."""

    command: str
    said: str


def examples() -> Iterator[Example]:
    for language, block in BLOCK.findall(README.read_text()):
        if language == "bash":
            yield Example(block, "")
            continue
        if language == "python":
            yield Example(f"python - <<'END'\n{block}END\n", "")
            continue
        command, said = "", ""
        for line in block.splitlines(keepends=True):
            if command and not is_whole(command):
                command += line
            elif line.startswith("$ "):
                if command:
                    yield Example(command, said)
                command, said = line[2:], ""
            else:
                said += line
        yield Example(command, said)


def is_whole(command: str) -> bool:
    """Whether a shell waits for no further line of it."""
    return command.count("'") % 2 == 0 and not command.rstrip("\n").endswith(("\\", "|"))


def pattern(said: str, known: dict[str, str], is_measured: bool) -> str:
    """What must be said where this is shown; ids that were seen before are those again."""
    parts: list[str] = []
    place = 0
    for found in re.finditer("|".join(f"(?:{shown})" for shown in VARYING), said):
        parts.append(literally(said[place : found.start()], is_measured))
        shown = found[0]
        by = next(looks for form, looks in VARYING.items() if re.fullmatch(form, shown))
        parts.append(re.escape(known[shown]) if shown in known else f"({by})" if re.fullmatch(UUID, shown) else by)
        place = found.end()
    parts.append(literally(said[place:], is_measured))
    return "".join(parts)


def literally(text: str, is_measured: bool) -> str:
    if not is_measured:
        return re.escape(text)
    return re.sub(r" +", " +", r"\d[\d,.]*".join(map(re.escape, MEASURED.split(text))).replace(r"\ ", " "))


@dataclass
class Session:
    """A shell in which one command follows another."""

    url: str
    env: dict[str, str]
    prelude: str = ""
    known: dict[str, str] = field(default_factory=dict)

    def run(self, example: Example) -> str | None:
        """What differs from what is shown, if anything does."""
        command = example.command
        for shown, actual in self.known.items():
            command = command.replace(shown, actual)
        command = command.replace("localhost:8000", self.url.removeprefix("http://"))
        command = ASKS_AN_API.sub(rf"\g<0> --url={self.url}", command)
        command = re.sub(r"polka_[0-9a-f]{4}…[0-9a-f]{4}", self.env["POLKA_KEY"], command)
        command = command.replace("--transactions 20000", "--transactions 200").replace("curl ", "curl -s ")
        if re.match(r"(export )?[A-Z_]+=", command):
            self.prelude += command
            return None
        reads = command.startswith("curl ") and not re.search(" (-X|-d|--json) ", command)
        wanted = example.said.rstrip("\n")
        looks = (
            re.compile(pattern(wanted, self.known, "drill" in command), re.DOTALL)
            if wanted
            else re.compile(".*", re.DOTALL)
        )
        deadline = time.monotonic() + (POSTED_SECONDS if reads else 0)
        while True:
            done = self.shell(command)
            said = done.stdout.replace("\r\n", "\n").rstrip("\n")
            if found := looks.fullmatch(said) if wanted or done.returncode == 0 else None:
                break
            if time.monotonic() > deadline:  # what is posted a moment later is shown a moment later
                return f"$ {example.command}--- shown\n{wanted}\n--- said\n{said}\n"
            time.sleep(0.1)
        new = [shown for shown in re.findall(UUID, wanted) if shown not in self.known]
        self.known |= dict(zip(new, found.groups(), strict=True))
        return None

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-uo", "pipefail", "-c", f"{self.prelude}{command}"],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="there is no curl, or no jq")
def test_every_command_says_what_is_shown() -> None:
    with tempfile.TemporaryDirectory(prefix="polka-readme-") as name:
        folder = Path(name)
        with up(folder, data="a folder") as running:
            key = running.key()["Authorization"].removeprefix("Bearer ")
            env = environment(
                POLKA_URL=running.url,
                POLKA_KEY=key,
                POLKA_DATABASE_URL=postgres.own_url(folder / "a folder"),
                PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            )
            session = Session(running.url, env)
            shown = [example for example in examples() if not example.command.startswith(ELSEWHERE)]
            assert len(shown) >= COMMANDS_MIN
            differences = [told for example in shown if (told := session.run(example))]
            assert not differences, "\n".join(differences)
        assert "Traceback" not in running.said()
