"""Time, read in this one place. Durations come from `monotonic`, dates only from `wall`.

Everything else takes `now` as an argument or a `Clock` in its constructor, so that a test or a
simulated world can own time.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """A source of time in seconds."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps; only differences mean anything."""
        ...

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump when the machine's date is set."""
        ...


class SystemClock:
    """The machine's own clocks; asking costs no more than asking the machine."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)

    @staticmethod
    def local() -> float:
        """Seconds since 1970-01-01 00:00 as the machine's time zone counts them; jumps with it."""
        wall_s = time.time()
        return wall_s + time.localtime(wall_s).tm_gmtoff
