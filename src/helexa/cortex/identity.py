"""The store in a running cortex: its `Keeper` keeps the book of keys fresh.

It looks several times a second whether anything changed in the database, whoever changed it, and
reads only what did. The gateway reads the last book and never waits for the database.

Only a cortex that has a store imports this: SQLAlchemy costs a process 24 MiB and 0.3 s of CPU.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from helexa.config.cortex import CortexConfig
from helexa.config.keys import read_foreign_key_file
from helexa.config.store_url import Location
from helexa.cortex.gateway.store_keys import StoreKeys
from helexa.protocol.errors import Refusal
from helexa.store.faults import StoreError
from helexa.store.key_book import KeyBook
from helexa.store.opening import open_store
from helexa.store.store import Change, Store
from helexa.store.thread import StoreThread
from helexa.util.clock import Clock
from helexa.util.metrics import Metrics
from helexa.util.tasks import TaskScope

LOOK_INTERVAL_S: Final = 0.25
"""A key that was revoked elsewhere is refused here after this time, and one look, at the latest."""

T = TypeVar("T")


class Keeper:
    """The store of one cortex, and the authenticator that lives on it."""

    def __init__(
        self,
        location: Location,
        password: str | None,
        clock: Clock,
        logger: Any,
        *,
        stale_max_s: float,
    ) -> None:
        self.keys = StoreKeys(
            clock.wall, clock.monotonic, secret=secrets.token_bytes(32), stale_max_s=stale_max_s
        )
        self.wall = clock.wall
        self._location = location
        self._password = password
        self._logger = logger
        self._thread = StoreThread()
        self._store: Store | None = None
        self._reachable = True

    async def open(self) -> None:
        """Open the store and read every key.

        A file that cannot be used is a StoreError; a server that cannot be reached is waited for,
        and until then every key is answered 503.
        """
        try:
            await self.refresh()
        except StoreError as error:
            if self._location.path:
                await self.close()
                raise
            self._note(error)

    def start(self, tasks: TaskScope, metrics: Metrics) -> None:
        """Keep the book fresh from here on, and tell how old it is."""
        age = metrics.gauge(
            "helexa_store_age_seconds", "Since the keys in memory were last known to be true"
        )
        metrics.before_render(lambda: age.set(self.keys.age_s))
        tasks.start(self._look(), "keys of the store")

    async def change(
        self, actor: str, cause: str, work: Callable[[Change], T | Refusal]
    ) -> T | Refusal:
        """Make a change, which holds here as soon as this returns. Raises StoreError."""
        outcome = await self._thread.run(lambda: self._opened().change(actor, cause, work))
        await self.refresh()
        return outcome

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Read something of the store. Raises StoreError."""
        return await self._thread.run(lambda: self._opened().read(work))

    async def refresh(self) -> None:
        """Read what changed since. Raises StoreError."""
        book = self.keys.book or KeyBook()
        self.keys.publish(await self._thread.run(lambda: self._opened().book_after(book)))

    async def close(self) -> None:
        """Close the store."""
        await self._thread.close()
        if self._store is not None:
            self._store.close()

    def _opened(self) -> Store:
        if self._store is None:
            self._store = open_store(self._location, self._password, self.wall)
            if self._store.database.set_aside:
                self._logger.error(
                    "store_set_aside",
                    because=self._store.database.set_aside,
                    hint="all keys are gone with it: stop, put a backup in its place, start again",
                )
        return self._store

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            try:
                await self.refresh()
            except StoreError as error:
                self._note(error)
            else:
                self._note(None)

    def _note(self, error: StoreError | None) -> None:
        """Log when the store goes and when it is back, and not each time in between."""
        reachable = error is None
        if reachable == self._reachable:
            return
        self._reachable = reachable
        if error is not None:
            self._logger.error("store_unreachable", because=error.message, hint=error.hint)
        else:
            self._logger.info("store_reachable")


def keeper_of(config: CortexConfig, clock: Clock, logger: Any) -> Keeper:
    """Return the keeper of the store that the settings name; nothing is opened yet."""
    store = config.store
    password = None if store.password_file is None else read_foreign_key_file(store.password_file)
    where = store.location(config.state_dir)
    return Keeper(where, password, clock, logger, stale_max_s=store.stale_max_s)
