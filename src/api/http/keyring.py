"""The keyring: the callers of all keys in force, in memory, so that a known key costs no query.

NOTIFY reports changes of the keys. A poll finds changes whose NOTIFY was lost. Both use one session, which is replaced
if it does not answer. If the database has no room for this session, a reader's session serves. A revocation is
therefore in force here within a second. While no session works, the last read keys stay valid for reading requests. A
writing request is rejected once the last read is some seconds old.

A key expires by the database's clock. Each read of the table reads this clock, and the monotonic clock continues it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.settings import Settings
from polka.rules import keys
from polka.rules.keys import Caller
from polka.service.background import background
from polka.store import api_keys, database
from polka.store.database import Connection, Pool

log = logging.getLogger(__name__)

SPACING_SECONDS = 0.05
"""Between two reads of the table, so that a flood of unknown keys causes no flood of queries."""
RETRY_SECONDS = 0.05
LOOK_SECONDS = 2.0
LOOKS = 3
"""The number of failed reads before the answer that the key cannot be checked. A process that was not scheduled for a
while mistakes its session for dead, and cuts the session."""
TRUSTED_SECONDS = 10.0
"""The time after a read during which its keys are valid for writing requests. Longer than the longest patience."""
HEADERS_MAX = 10_000
PATIENCE_SECONDS_MIN, PATIENCE_SECONDS_MAX = 0.3, 5.0
"""The limits of an answer: short at first, and longer after each failed read, because a database may be slow."""


@asynccontextmanager
async def open_keyring(settings: Settings, pool: Pool) -> AsyncIterator["Keyring | None"]:
    """A keyring that follows the table, and was read once if the database is available; None if no keys are
    required."""
    if settings.no_auth:
        log.warning("POLKA_NO_AUTH is set: no keys are asked for, EVERYBODY IS AN OPERATOR")
        yield None
        return
    keyring = Keyring(settings, pool)
    async with background(keyring.run()):
        await keyring.look()
        yield keyring


class Keyring:
    """The known callers. Only `run` reads the table, for all waiting requests."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool
        self._callers: dict[bytes, Caller] = {}
        self._by_id: dict[str, Caller] = {}
        self._by_header: dict[bytes, Caller] = {}
        self._version: tuple[int, int] | None = None
        self._looked_at = -TRUSTED_SECONDS
        self._clock_offset = 0.0  # database's clock (seconds since 1970) less monotonic clock
        self._patience_seconds = PATIENCE_SECONDS_MIN
        self._wanted = asyncio.Event()
        self._next_look: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    @property
    def is_read(self) -> bool:
        """Whether the table was read at least once."""
        return self._version is not None

    def find(self, key: bytes) -> Caller | None:
        """The caller of this key, as far as known here."""
        return self._unexpired(self._callers.get(keys.hash_of(key)))

    def of_header(self, header: bytes) -> Caller | None:
        """The same for a whole header `Authorization`. Known headers are not hashed again."""
        if (caller := self._by_header.get(header)) is None:
            key = keys.bearer_token({b"authorization": header})
            if key is None or (caller := self._callers.get(keys.hash_of(key))) is None:
                return None
            if len(self._by_header) >= HEADERS_MAX:
                self._by_header.clear()
            self._by_header[header] = caller
        return self._unexpired(caller)

    def with_id(self, id: str) -> Caller | None:
        """The caller whose key has this id, while the key is in force."""
        return self._unexpired(self._by_id.get(id))

    def _unexpired(self, caller: Caller | None) -> Caller | None:
        if caller is None or caller.expires_at is None:
            return caller
        return caller if caller.expires_at.timestamp() > time.monotonic() + self._clock_offset else None

    @property
    def is_outdated(self) -> bool:
        """Whether the last read is so old that a key may have been revoked since."""
        return time.monotonic() > self._looked_at + TRUSTED_SECONDS

    async def look(self) -> bool:
        """Wait for a read of the table that begins from now on; False if the database is down."""
        for _ in range(LOOKS):
            look = self._next_look
            self._wanted.set()
            await asyncio.wait({look}, timeout=LOOK_SECONDS)
            if not look.done():
                return False
            if look.result():
                return True
        return False

    async def run(self) -> None:
        """Follow the table until cancelled."""
        while True:
            try:
                await self._follow()
            except database.ERRORS as error:
                database.report(log, "the keys could not be read", error)
                if not await self._look_over_pool():
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

    async def _look_over_pool(self) -> bool:
        """Read over a reader's session. Returns whether the read succeeded."""
        try:
            async with asyncio.timeout(self._patience_seconds), self._pool.acquire() as connection:
                await self._look(connection)
        except database.ERRORS:
            return False
        return True

    async def _look(self, connection: Connection) -> None:
        look, done = self._begin_look(), False
        began = time.monotonic()
        try:
            found = await api_keys.version(connection)
            version = (found.made, found.revoked)
            if version != self._version:
                self._callers, self._version = await api_keys.in_force(connection), version
                self._by_id = {caller.id: caller for caller in self._callers.values()}
                self._by_header = {}
            self._clock_offset = found.time - began  # at most too far ahead: a key may expire slightly early
            self._looked_at = began
            done = True
        finally:
            look.set_result(done)

    def _begin_look(self) -> asyncio.Future[bool]:
        """Requests from now on wait for the read after this read."""
        look, self._next_look = self._next_look, asyncio.get_running_loop().create_future()
        self._wanted.clear()
        return look
