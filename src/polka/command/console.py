"""`polka console`: opens the console in a browser.

Other users of the machine see command lines. Therefore the browser gets a file for its user alone, and the file has the
address with the key. A browser sends the part behind the # to nobody.
"""

import json
import os
import sys
import webbrowser
from pathlib import Path

from rich.markup import escape

from polka.client import ProblemError
from polka.command.asking import UNAUTHORIZED, asking
from polka.command.help import command
from polka.command.on_polka import on_polka
from polka.command.terminal import say
from polka.local import kept_keys, postgres, private
from polka.local.presence import Presence

FILE = "console.html"
PAGE = """\
<!doctype html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<title>Polka's console</title>
<script>location.replace({address})</script>
"""


@command("console", "polka console", "polka console --data ~/polka-tour")
@on_polka
def run_console(polka: Presence) -> None:
    """Open the console in a browser, already signed in."""
    with asking(polka) as client:
        client.hello()
    key = polka.console_key or polka.key
    address = kept_keys.console_url(polka.url, key) if key else f"{polka.url}/console"
    if has_browser() and webbrowser.open(written(polka.folder, address).as_uri()):
        say(f"The console of {escape(polka.url)} opens in your browser.")
    else:
        entering = f", and enter {key_of(polka)}" if needs_key(polka.url) else ""
        say(escape(f"There is no browser here. Open {polka.url}/console in one{entering}."))
        sys.exit(1)


def needs_key(url: str) -> bool:
    with asking(Presence(url)) as client:
        try:
            next(client.banks(page_size=1), None)
        except ProblemError as error:
            return error.status == UNAUTHORIZED
    return False


def key_of(polka: Presence) -> str:
    """The key for the console, for display: its file, if the key is in the folder of the Polka."""
    file = Path(polka.folder) / kept_keys.OPERATOR if polka.folder else None
    return f"the key in {file}" if file and file.exists() else "an operator's key"


def has_browser() -> bool:
    """Whether a browser with windows can start. A browser for terminals does not show the console."""
    is_graphical = sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return is_graphical or bool(os.environ.get("BROWSER"))


def written(of_polka: str | None, address: str) -> Path:
    """A private file that leads a browser to the address, in the folder of the Polka if the folder is ours."""
    folder = Path(of_polka) if of_polka else postgres.data_folder()
    private.own_folder(folder, 0o711 if os.geteuid() == 0 else 0o700)
    file = folder / FILE
    private.write(file, PAGE.format(address=json.dumps(address).replace("<", "\\u003c")))
    return file
