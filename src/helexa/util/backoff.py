"""How long to wait before trying again: exponential, capped, with full jitter. Pure.

Full jitter is the variant of "Exponential Backoff And Jitter" (Brooker, AWS Architecture Blog,
2015) with the fewest collisions: the delay is uniform between 0 and the exponential bound.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double from `initial_s` up to `ceiling_s`."""

    initial_s: float = 0.5
    ceiling_s: float = 15.0

    def bound_s(self, attempt: int) -> float:
        """Upper bound of the delay before retry number `attempt` (0 is the first)."""
        doublings = min(max(attempt, 0), 60)
        return min(self.ceiling_s, self.initial_s * float(2**doublings))

    def delay_s(self, attempt: int, entropy: float) -> float:
        """Return the delay in seconds; `entropy` is uniform in [0, 1) and given by the caller."""
        return self.bound_s(attempt) * entropy
