"""The keys in Polka's folder, readable only by its owner: for commands, and for the console."""

from pathlib import Path

from polka.local import private
from polka.rules.keys import NewKey, Scope, is_key
from polka.store import api_keys
from polka.store.database import Connection

OPERATOR, CONSOLE = "operator-key", "console-key"
"""The names of the files."""
NEW_OPERATORS = NewKey("operator", scopes=tuple(Scope))
NEW_CONSOLES = NewKey("console", scopes=(Scope.OPERATE, Scope.TRANSACTIONS_READ))


async def operators_key(connection: Connection, folder: Path, is_own_database: bool = True) -> str | None:
    """The key for commands. A new key is made in Polka's own database, or in a database without any keys."""
    if kept := await kept_in_force(connection, folder / OPERATOR):
        return kept
    if not is_own_database and await api_keys.exist(connection):
        return None
    return await make(connection, folder / OPERATOR, NEW_OPERATORS)


async def console_key(connection: Connection, folder: Path) -> str:
    """The key for the console."""
    return await kept_in_force(connection, folder / CONSOLE) or await make(connection, folder / CONSOLE, NEW_CONSOLES)


async def kept_in_force(connection: Connection, file: Path) -> str | None:
    """The key in the file; None if the file is missing or its key was revoked."""
    if not file.exists() or not is_key(kept := file.read_text()):
        return None
    found = await api_keys.find(connection, kept)
    return kept if found and found.revoked_at is None else None


async def make(connection: Connection, file: Path, new: NewKey) -> str:
    key = api_keys.new_key()
    await api_keys.create(connection, key, new)
    private.write(file, key)
    return key


def console_url(url: str, key: str) -> str:
    """The address that opens the console signed in. A browser never sends the part after the #."""
    return f"{url}/console#key={key}"
