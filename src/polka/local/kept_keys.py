"""The key by which the console of a local Polka opens: kept in Polka's folder, where its owner alone can read it."""

from pathlib import Path

from polka.local import private
from polka.rules.keys import NewKey, Scope, is_key
from polka.store import api_keys
from polka.store.database import Connection

NEW = NewKey("console", scopes=(Scope.OPERATE, Scope.TRANSACTIONS_READ))


async def console_key(connection: Connection, folder: Path) -> str:
    """The key that is kept there; a new one where there is none, or it was revoked."""
    file = folder / "console-key"
    if file.exists() and is_key(kept := file.read_text()):
        found = await api_keys.find(connection, kept)
        if found and found.revoked_at is None:
            return kept
    key = api_keys.new_key()
    await api_keys.create(connection, key, NEW)
    private.write(file, key)
    return key


def console_url(url: str, key: str) -> str:
    """Where it opens by itself: a browser sends nobody what stands behind the #."""
    return f"{url}/console#key={key}"
