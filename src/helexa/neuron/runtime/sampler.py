"""Readings that take time or may hang, for who asks for metrics: bounded, and never twice at once.

A driver or a disk can hang for ever. What reads it is a thread of its own that nobody waits for at
the end of the process, and while it hangs the reading is missing and everything else is told.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from helexa.util import logging
from helexa.util.errors import describe
from helexa.util.tasks import TaskScope

STALE_AFTER: Final = 3
"""A value is told for so many times as long as it is fresh; older ones would mislead."""

_T = TypeVar("_T")
_log = logging.get("metrics")


class Sampler(Generic[_T]):
    """The latest value of one reading; it is read anew when asked for after `fresh_s`.

    Raises nothing: a reading that fails is missing, and the log tells of it the first time.
    """

    def __init__(
        self,
        read: Callable[[], Coroutine[Any, Any, _T]],
        name: str,
        *,
        tasks: TaskScope,
        now: Callable[[], float],
        fresh_s: float,
    ) -> None:
        self._read = read
        self._name = name
        self._tasks = tasks
        self._now = now
        self._fresh_s = fresh_s
        self._task: asyncio.Task[None] | None = None
        self._latest: tuple[float, _T] | None = None
        self._has_failed = False

    async def latest(self, wait_s: float) -> _T | None:
        """Return the value, read now if need be; None where no recent one comes in `wait_s`."""
        if (self._task is None or self._task.done()) and not self._is_younger(self._fresh_s):
            self._task = self._tasks.start(self._run(), self._name)
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task}, timeout=wait_s)
        if self._latest is None or not self._is_younger(self._fresh_s * STALE_AFTER):
            return None
        return self._latest[1]

    def _is_younger(self, limit_s: float) -> bool:
        return self._latest is not None and self._now() - self._latest[0] < limit_s

    async def _run(self) -> None:
        try:
            value = await self._read()
        except Exception as error:  # noqa: BLE001  metrics are never worth a fault of the neuron
            tell = _log.debug if self._has_failed else _log.warning
            self._has_failed = True
            tell("cannot be read", reading=self._name, error=describe(error))
            return
        self._has_failed = False
        self._latest = (self._now(), value)


async def in_own_thread(read: Callable[[], _T]) -> _T:
    """Run `read` in a thread that does not keep the process from ending; return what it returns."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(value: _T | None, error: Exception | None) -> None:
        if future.done():
            return  # the waiter was cancelled
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)  # type: ignore[arg-type]  # None only where it is read's own

    def run() -> None:
        value: _T | None = None
        failed: Exception | None = None
        try:
            value = read()
        except Exception as error:  # noqa: BLE001  it is raised again on the event loop
            failed = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, value, failed)

    threading.Thread(target=run, name="reading", daemon=True).start()
    return await future
