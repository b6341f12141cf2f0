"""How often somebody may be wrong: a budget of failures for each, in bounded memory. Pure.

A budget refills with time (the generic cell rate algorithm: one number for each who failed, the
time at which all its failures will have been forgiven). Where there are too many, who failed
longest ago is forgotten first.
"""

import math
from typing import Final

FAILURES_MAX: Final = 20
FORGIVE_S: Final = 1.0
"""One failure is forgiven in this time."""
REMEMBERED_MAX: Final = 4096


class Guesses:
    """Counts failures by key: an address, or what was guessed at."""

    def __init__(
        self,
        failures_max: int = FAILURES_MAX,
        forgive_s: float = FORGIVE_S,
        remembered_max: int = REMEMBERED_MAX,
    ) -> None:
        self._tolerance_s = failures_max * forgive_s
        self._forgive_s = forgive_s
        self._remembered_max = remembered_max
        self._clean_s: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._clean_s)

    def wait_s(self, who: str, now_s: float) -> int:
        """Return 0 where they may fail once more; else the whole seconds until they may."""
        over_s = self._clean_s.get(who, now_s) - now_s - self._tolerance_s + self._forgive_s
        return max(math.ceil(over_s), 0)

    def failed(self, who: str, now_s: float) -> None:
        """Count a failure; beyond the budget nothing more is counted, so the wait stays short."""
        clean_s = max(self._clean_s.pop(who, now_s), now_s) + self._forgive_s
        if len(self._clean_s) >= self._remembered_max:
            del self._clean_s[next(iter(self._clean_s))]
        self._clean_s[who] = min(clean_s, now_s + self._tolerance_s)
