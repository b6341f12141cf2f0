"""The world's time: a heap of (time, order, action). Nothing else makes anything happen."""

import random
from collections.abc import Callable
from heapq import heappop as _pop
from heapq import heappush as _push
from typing import Any


class Clockwork:
    """Runs actions in their order. `random` is the only source of chance in a world."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(f"world {seed}")
        self.now = 0.0
        self.events = 0
        self._order = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []

    def at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:
        """Have something happen at a time; what is due already happens next."""
        self._order += 1
        if when < self.now:
            when = self.now
        _push(self._heap, (when, self._order, action, arguments))

    def after(self, seconds: float, action: Callable[..., None], *arguments: Any) -> None:
        """Have something happen in so many seconds."""
        self.at(self.now + seconds, action, *arguments)

    def run_until(self, end: float) -> None:
        """Let everything happen that is due before `end`."""
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.now, _, action, arguments = _pop(heap)
            self.events += 1
            action(*arguments)
        self.now = end
