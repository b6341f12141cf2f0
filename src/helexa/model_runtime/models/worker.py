"""Blocking work off the event loop that ends when its caller is cancelled.

A thread cannot be cancelled from outside, and a forgotten one would go on writing into a file
whose lock is free again. So the work asks a `Stop` between its steps, and the caller leaves only
when the thread has ended.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

ResultT = TypeVar("ResultT")


class StoppedError(Exception):
    """The caller is gone; the work ends here."""


class Stop:
    """Set once by the caller, asked by the work."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask the work to end."""
        self._event.set()

    def check(self) -> None:
        """Raise StoppedError when the work should end."""
        if self._event.is_set():
            raise StoppedError


class Progress(Protocol):
    """Told how far a phase is. Called on the event loop; must not raise."""

    def __call__(self, phase: str, done_bytes: int, total_bytes: int | None) -> None:
        """Take note: `phase` is waiting, download, extract, convert or check."""


def silent(phase: str, done_bytes: int, total_bytes: int | None) -> None:
    """Tell nobody."""


async def in_thread(work: Callable[[Stop], ResultT]) -> ResultT:
    """Run `work(stop)` in a thread and return what it returns.

    When the caller is cancelled the work is told to stop and waited for.
    """
    stop = Stop()
    running = asyncio.get_running_loop().run_in_executor(None, work, stop)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        while not running.done():
            try:
                await asyncio.wait({running})
            except asyncio.CancelledError:
                continue
        if not running.cancelled():
            running.exception()  # Seen: the caller is told of its cancellation instead.
        raise


def from_thread(progress: Progress) -> Progress:
    """Return a progress function that may be called from a thread; call this on the event loop."""
    loop = asyncio.get_running_loop()

    def tell(phase: str, done_bytes: int, total_bytes: int | None) -> None:
        loop.call_soon_threadsafe(progress, phase, done_bytes, total_bytes)

    return tell
