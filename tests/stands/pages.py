"""The commands in documents, in order, and a shell that runs the commands and compares their output."""

import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from polka.local.private import socket_folder

BLOCK = re.compile(r"^```(console|bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ASKS_AN_API = re.compile(r"\bpolka (spam|drill \w+|clearing \w+|pay|banks (?:open|cap|uncap)|banks|payments|status)\b")
SETS = re.compile(r"(export )?[A-Za-z_]+=|\w+\(\) \{")
"""A variable or a function for later commands."""
KEEPS = re.compile(r"([a-z]+)=\$\(")
"""A variable with the output of a command."""
WRITES = re.compile(" (-X|-d|--json) ")
POSTED_SECONDS = 120.0
FOLDER = "/var/lib/polka"
"""The folder of `polka up` in the documents."""

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
VARYING = {
    UUID: UUID,
    r"polka_[0-9a-f]{4}…[0-9a-f]{4}": r"polka_[0-9a-f]{40}",
    r"\d{4}-\d\d-\d\dT[\d:.]+Z": r"\d{4}-\d\d-\d\dT[\d:.]+Z",
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
    r"date: [^\n]*": r"date: [^\n]*",
    r"content-length: \d+": r"content-length: \d+",
    r"x-request-id: \S+": r"x-request-id: \S+",
    r'"flush": ?\d+': r'"flush": ?\d+',
    r'"window": ?\d+': r'"window": ?\d+',
    r" … ": r".*",
}
"""Values that differ from run to run, with their form."""
MEASURED = re.compile(r"\d[\d,.]*")
"""The numbers of a drill and of an audit."""
MEASURES = re.compile(r"polka (drill \w+|audit)\n")


@dataclass(frozen=True)
class Example:
    """A command in a document, and its output there."""

    command: str
    said: str
    page: str
    is_script: bool = False
    """A whole block, not a line after a prompt."""


def examples(page: Path) -> Iterator[Example]:
    """The commands of a page, from its blocks `console`, `bash` and `python`."""
    for language, block in BLOCK.findall(page.read_text()):
        if language == "bash":
            yield Example(block, "", page.name, is_script=True)
        elif language == "python":
            yield Example(f"python - <<'END'\n{block}END\n", "", page.name, is_script=True)
        else:
            yield from dialogue(block, page.name)


def dialogue(block: str, page: str) -> Iterator[Example]:
    """The commands of a block `console`: a command follows a prompt, and its output follows the command."""
    command, said = "", ""
    for line in block.splitlines(keepends=True):
        if command and not is_whole(command):
            command += line
        elif line.startswith("$ "):
            if command:
                yield Example(command, said, page)
            command, said = line[2:], ""
        else:
            said += line
    yield Example(command, said, page)


def is_whole(command: str) -> bool:
    """Whether a shell waits for no further line of the command."""
    if command.rstrip("\n").endswith("\\"):
        return False
    return subprocess.run(["bash", "-nc", command], capture_output=True, check=False).returncode == 0


def pattern(said: str, known: dict[str, str], is_measured: bool) -> str:
    """The form of an output. Ids from earlier outputs must be the same again."""
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
    """A shell for commands in sequence."""

    url: str
    folder: Path
    """The folder of the answering Polka."""
    env: dict[str, str]
    prelude: str = ""
    known: dict[str, str] = field(default_factory=dict)

    def difference(self, example: Example) -> str | None:
        """Runs the command. Returns how its output differs from the document, or None."""
        command = self.here(example.command)
        if SETS.match(command) and not example.is_script:
            self.prelude += self.once(command)
            return None
        wanted = example.said.rstrip("\n")
        is_measured = MEASURES.fullmatch(example.command) is not None
        form = pattern(wanted, self.known, is_measured) if wanted else ".*"
        may_wait = example.command.startswith(("curl ", "polka clearing show ", "polka banks")) and not WRITES.search(
            command
        )
        deadline = time.monotonic() + (POSTED_SECONDS if may_wait else 0)
        while True:
            done = self.shell(command)
            said = done.stdout.replace("\r\n", "\n").rstrip("\n")
            if found := re.fullmatch(form, said, re.DOTALL) if wanted or done.returncode == 0 else None:
                break
            if time.monotonic() > deadline:  # the next flush may change the answer until then
                return f"{example.page}: $ {example.command}--- shown\n{wanted}\n--- said\n{said}\n"
            time.sleep(0.1)
        new = [shown for shown in re.findall(UUID, wanted) if shown not in self.known]
        self.known |= dict(zip(new, found.groups(), strict=True))
        return None

    def once(self, command: str) -> str:
        """The same with the command's result in its place, because every later shell repeats the line."""
        kept = KEEPS.match(command)
        if not kept:
            return command
        value = self.shell(f'{command}printf %s "${kept[1]}"').stdout
        return f"{kept[1]}={shlex.quote(value)}\n"

    def here(self, command: str) -> str:
        """The command for this Polka: its address, its folder, its key, ids from earlier answers."""
        for shown, actual in self.known.items():
            command = command.replace(shown, actual)
        command = command.replace("localhost:8000", self.url.removeprefix("http://"))
        command = command.replace(f"{FOLDER}/sockets", str(socket_folder(self.folder)))
        command = command.replace(f"{FOLDER}/operator-key", shlex.quote(str(self.folder / "operator-key")))
        command = ASKS_AN_API.sub(
            rf"env -u POLKA_URL -u POLKA_KEY \g<0> --data={shlex.quote(str(self.folder))}", command
        )
        command = re.sub(r"polka_[0-9a-f]{4}…[0-9a-f]{4}", self.env["POLKA_KEY"], command)
        return command.replace("--transactions 20000", "--transactions 200").replace("curl ", "curl -s ")

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-uo", "pipefail", "-c", f"{self.prelude}{command}"],
            cwd=self.folder.parent,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
