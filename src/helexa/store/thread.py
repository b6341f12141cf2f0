"""The one thread that touches the database: work is handed to it and awaited, in order, bounded."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from helexa.store.faults import StoreError

T = TypeVar("T")
WAITING_MAX: Final = 256


class StoreThread:
    """Runs work one piece after another. What was begun ends, whoever stopped waiting for it."""

    def __init__(self, waiting_max: int = WAITING_MAX) -> None:
        self._executor = ThreadPoolExecutor(1, "helexa-store")
        self._waiting_max = waiting_max
        self._waiting = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, from the thread; raises StoreError where too much waits."""
        if self._waiting >= self._waiting_max:
            raise StoreError(
                f"the store is busy: {self._waiting} pieces of work wait for it already",
                error_id="HX-0350", hint="try again in a moment",
            )  # fmt: skip
        self._waiting += 1
        future = self._executor.submit(work)
        future.add_done_callback(self._done)
        return await asyncio.wrap_future(future)

    async def close(self) -> None:
        """Wait for what was begun, drop what waits, and end the thread."""
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)

    def _done(self, _future: object) -> None:
        self._waiting -= 1
