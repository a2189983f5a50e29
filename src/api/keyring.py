"""The keyring: the callers of all keys in force, in memory, so that a known key costs no query.

A change of the keys is told by NOTIFY. Should that be lost, a poll finds it; both use one session, which is replaced
when it does not answer. So a revocation is in force here within a second. While the database is away, when nothing
can be paid either, what was last read holds.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.settings import Settings
from polka import api_keys, database, keys
from polka.background import background
from polka.database import Connection
from polka.keys import Caller

log = logging.getLogger(__name__)

SPACING_SECONDS = 0.05
"""Between two looks at the table, so that a flood of unknown keys is no flood of queries."""
RETRY_SECONDS = 0.05
LOOK_SECONDS = 2.0
PATIENCE_SECONDS_MIN, PATIENCE_SECONDS_MAX = 0.3, 5.0
"""What an answer may take: little at first, more after each look that fails, or a slow database would never do."""


@asynccontextmanager
async def open_keyring(settings: Settings) -> AsyncIterator["Keyring | None"]:
    """A keyring that is kept up to date, and was read once if the database answers; None where no key is needed."""
    if settings.no_auth:
        log.warning("POLKA_NO_AUTH is set: no keys are asked for, EVERYBODY IS AN OPERATOR")
        yield None
        return
    keyring = Keyring(settings)
    async with background(keyring.run()):
        await keyring.look()
        yield keyring


class Keyring:
    """Who the callers are. Only `run` reads the table, for all who wait."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._callers: dict[bytes, Caller] = {}
        self._by_id: dict[str, Caller] = {}
        self._version: tuple[int, int] | None = None
        self._patience_seconds = PATIENCE_SECONDS_MIN
        self._wanted = asyncio.Event()
        self._next_look: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    @property
    def is_read(self) -> bool:
        """Whether the table was read at least once."""
        return self._version is not None

    def find(self, key: bytes) -> Caller | None:
        """The caller whom this key stands for, as far as is known here."""
        return self._callers.get(keys.hash_of(key))

    def with_id(self, id: str) -> Caller | None:
        """The caller whose key has this id, as long as it is in force."""
        return self._by_id.get(id)

    async def look(self) -> bool:
        """Wait until the table has been looked at, from now on; False if the database does not answer."""
        look = self._next_look
        self._wanted.set()
        await asyncio.wait({look}, timeout=LOOK_SECONDS)
        return look.done() and look.result()

    async def run(self) -> None:
        """Follow the table until cancelled."""
        while True:
            try:
                await self._follow()
            except database.ERRORS as error:
                database.report(log, "the keys could not be read", error)
                self._begin_look().set_result(False)
                self._patience_seconds = min(self._patience_seconds * 2, PATIENCE_SECONDS_MAX)
                await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self) -> None:
        connection = await database.connect(self._settings.database_url, "api keys", PATIENCE_SECONDS_MAX)
        try:
            with database.bounded(connection, self._patience_seconds):
                await connection.add_listener(api_keys.CHANNEL, lambda *_: self._wanted.set())
            while True:
                with database.bounded(connection, self._patience_seconds):
                    await self._look(connection)
                self._patience_seconds = PATIENCE_SECONDS_MIN
                await asyncio.sleep(SPACING_SECONDS)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wanted.wait(), self._settings.keys_poll_seconds)
        finally:
            connection.terminate()

    async def _look(self, connection: Connection) -> None:
        look, done = self._begin_look(), False
        try:
            version = await api_keys.version(connection)
            if version != self._version:
                self._callers, self._version = await api_keys.in_force(connection), version
                self._by_id = {caller.id: caller for caller in self._callers.values()}
            done = True
        finally:
            look.set_result(done)

    def _begin_look(self) -> asyncio.Future[bool]:
        """Whoever asks from now on waits for the look after this one."""
        look, self._next_look = self._next_look, asyncio.get_running_loop().create_future()
        self._wanted.clear()
        return look
