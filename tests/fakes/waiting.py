"""Waiting for a condition, with a deadline and without fixed sleeps."""

import asyncio
import time
from collections.abc import Callable

PATIENCE_S = 20.0


async def until(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Poll `condition` on the event loop until it is true; AssertionError past the deadline."""
    give_up = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < give_up, f"waited {patience_s:g} s in vain until {what}"
        await asyncio.sleep(0.01)


def until_blocking(
    condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S
) -> None:
    """Poll `condition` without an event loop."""
    give_up = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < give_up, f"waited {patience_s:g} s in vain until {what}"
        time.sleep(0.01)
