"""One lock per source over all processes and all tasks of this one.

Between processes it is `flock` on a file that is never deleted (deleting one that others wait for
would make two holders); the system frees it when a process dies, however it dies.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from helexa.model_runtime.models.worker import Progress
from helexa.util.regular_files import open_lock_file

_LOOK_EVERY_S: Final = 0.1


class Flight:
    """All who want one source now: one works, the others wait, each is told of the progress."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.listeners: list[Progress] = []

    def tell(self, phase: str, done_bytes: int, total_bytes: int | None) -> None:
        """Pass progress on to all who wait."""
        for listener in tuple(self.listeners):
            listener(phase, done_bytes, total_bytes)


class Flights:
    """The flights in the air, by key."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}

    @asynccontextmanager
    async def join(self, key: str, listener: Progress) -> AsyncIterator[Flight]:
        """Wait for one's turn with a source; listen to whoever has it before."""
        flight = self._flights.setdefault(key, Flight())
        flight.listeners.append(listener)
        try:
            async with flight.lock:
                yield flight
        finally:
            flight.listeners.remove(listener)
            if not flight.listeners:
                self._flights.pop(key, None)


@asynccontextmanager
async def file_lock(path: Path, progress: Progress) -> AsyncIterator[None]:
    """Hold a lock file alone. Raises OSError when it cannot be opened."""
    handle = open_lock_file(path)
    try:
        while not _try_lock(handle):
            progress("waiting", 0, None)
            await asyncio.sleep(_LOOK_EVERY_S)
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
