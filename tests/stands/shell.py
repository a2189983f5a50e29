"""A shell's `polka` that the tests' process forks. The program imports nothing of Polka, and starts at once."""

import contextlib
import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nursery import nursery_of
from waiting import WAIT_SECONDS

PROGRAM = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as tests:
    tests.connect({address!r})
    tests.sendall(json.dumps([os.getpid(), sys.argv[1:], dict(os.environ), os.getcwd()]).encode() + b"\\n")
    sys.exit(int(tests.recv(10)))
"""


@contextmanager
def forked_polka(folder: Path) -> Iterator[Path]:
    """Serve this folder's program `polka`. Its forks write to its own output, which may be a pipe."""
    program, address = folder / "polka", str(folder / "socket")
    with socket.create_server(address, family=socket.AF_UNIX) as listening:
        threading.Thread(target=serve, args=[listening], daemon=True).start()
        program.write_text(PROGRAM.format(python=sys.executable, address=address))
        program.chmod(0o755)
        yield folder


def serve(listening: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            program, _ = listening.accept()
            threading.Thread(target=run, args=[program], daemon=True).start()


def run(program: socket.socket) -> None:
    with program, program.makefile() as asked:
        pid, words, environ, folder = json.loads(asked.readline())
        output, errors = (Path(f"/proc/{pid}/fd/{number}") for number in (1, 2))
        child = nursery_of(words[0]).fork(words, environ, output, errors, Path(folder))
        program.sendall(str(child.wait(WAIT_SECONDS)).encode())
