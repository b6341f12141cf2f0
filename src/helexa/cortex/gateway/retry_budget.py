"""How many requests may be tried again: a share of all, so that trouble is never multiplied. Pure.

A bucket of tries. Every request adds a share of one, every further try takes one out. A fleet in
which everything fails is so sent its requests, and a tenth on top, however often callers ask.
"""

from typing import Final

RETRY_SHARE: Final = 0.1
RESERVE: Final = 256
"""Tries in a full bucket: what was on one neuron when it died may all go elsewhere at once."""


class RetryBudget:
    """The budget of one gateway."""

    __slots__ = ("_reserve", "_share", "left")

    def __init__(self, share: float = RETRY_SHARE, reserve: int = RESERVE) -> None:
        if not 0 <= share <= 1 or reserve < 0:
            raise ValueError(f"share {share}, reserve {reserve}: out of range")
        self._share = share
        self._reserve = float(reserve)
        self.left = self._reserve
        """Tries that may be taken now; whole ones count."""

    def earn(self) -> None:
        """A request came in."""
        left = self.left + self._share
        self.left = min(self._reserve, left)

    def spend(self) -> bool:
        """Take one try, if there is one."""
        if self.left < 1:
            return False
        self.left -= 1
        return True
