"""How much a neuron may say: a bucket that time fills, and a debt where it was not enough. Pure.

Each control message costs a turn of the one loop that everybody's requests wait for. A neuron that
says more than it may is not read for a while: what it said already is taken, nothing is lost, and
only its own connection waits.
"""

from typing import Final

UNITS_MAX: Final = 4000.0
"""At once: a neuron with a thousand models that is told to load them all."""
UNITS_PER_S: Final = 250.0
"""For ever: well past any neuron's heartbeats and steps of its models."""
BYTES_A_UNIT: Final = 256
"""A message costs one unit, and one for so many bytes; about as much work, where it is models."""


class Allowance:
    """One connection's. `now` is monotonic seconds."""

    __slots__ = ("_left", "_since_s")

    def __init__(self, now: float) -> None:
        self._left = UNITS_MAX
        self._since_s = now

    def spend(self, byte_count: int, now: float) -> float:
        """Pay for one message of that many bytes; return the seconds to wait before the next."""
        self._refill(now)
        self._left -= 1 + byte_count / BYTES_A_UNIT
        return self.wait_s(now)

    def wait_s(self, now: float) -> float:
        """Return the seconds until the debt is paid, 0 where there is none."""
        self._refill(now)
        return max(-self._left, 0.0) / UNITS_PER_S

    def _refill(self, now: float) -> None:
        passed_s, self._since_s = now - self._since_s, now
        self._left = min(self._left + passed_s * UNITS_PER_S, UNITS_MAX)
