"""Waiting for what must become true: look again and again, up to a deadline. No fixed sleeps."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LOOK_AGAIN_S = 0.01


def wait_until(
    condition: Callable[[], T], what: str, within_s: float, alive: Callable[[], None] | None = None
) -> T:
    """Return the condition's first true value. `alive` may raise to end the wait early."""
    deadline = time.monotonic() + within_s
    pause = LOOK_AGAIN_S
    while True:
        value = condition()
        if value:
            return value
        if alive is not None:
            alive()
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what} (last: {value!r})")
        time.sleep(pause)
        pause = min(pause * 1.3, 0.1)


async def eventually(condition: Callable[[], T], what: str, within_s: float) -> T:
    """Do the same in an event loop. The condition runs in a thread when it may block."""
    deadline = time.monotonic() + within_s
    pause = LOOK_AGAIN_S
    while True:
        value = await asyncio.to_thread(condition)
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what} (last: {value!r})")
        await asyncio.sleep(pause)
        pause = min(pause * 1.3, 0.1)
