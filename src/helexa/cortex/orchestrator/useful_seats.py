"""How many requests at a time are of use to a replica, learned from what it achieved. Pure.

    requests that ended ─► Curve ─► UsefulSeats ─► the seats that admission and routing give out

An engine says how many requests it works on at a time. Past some number, more of them bring no more
tokens: each is only slower. What is learned is kept by model, engine and kind of machine:

- *The curve* tells how many tokens a second a replica makes with so many requests at a time: that
  number, times the speed of one answer while it was written. So a curve is not about how much is
  asked for, and a load that rises or falls does not bend it.
- *Lower*: to the fewest with `KNEE_SHARE` of the best, once more were tried and brought no more.
- *Higher* only where the limit has less than `RAISE_SHARE` of the best. What lies between moves
  nothing.
- *Probes*: what was seen in a bad hour must not count for ever. Where requests wait because of the
  limit, the next step above it is tried every `PROBE_S`, and judged by what it does then alone.
"""

from dataclasses import dataclass, replace
from typing import Final

import msgspec

from helexa.protocol.ids import NeuronId

CONCURRENCIES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""The steps of a curve; each stands for all numbers above the step before it."""
KNEE_SHARE: Final = 0.9
RAISE_SHARE: Final = 0.8
OBSERVATIONS_MIN: Final = 20
"""Requests that make one step of a curve known."""
WEIGHT: Final = 0.05
"""Share of one request in its step, once that is known: about forty make it new."""
PROBE_S: Final = 900.0
REST_S: Final = 120.0
"""After each change nothing is changed, so that what is judged next was seen since. After a probe
that brought more, the next step is tried then: the way back up takes minutes."""


class Achieved(msgspec.Struct, frozen=True, gc=False):
    """What one neuron did for one model since the last sample, at one step of concurrency."""

    neuron_id: NeuronId
    requests: int
    concurrency: float
    """Requests of the gateway on the replica at the same time, on average."""
    stream_tokens_per_s: float
    """Speed of one answer after its first token, on average."""


def step_of(concurrency: float) -> int:
    """Return the place in CONCURRENCIES that so many requests at a time belong to."""
    for place, upper in enumerate(CONCURRENCIES):
        if concurrency <= upper:
            return place
    return len(CONCURRENCIES) - 1


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens per second of one replica at each step of CONCURRENCIES, and how often it was seen."""

    tokens_per_s: tuple[float, ...] = (0.0,) * len(CONCURRENCIES)
    observations: tuple[int, ...] = (0,) * len(CONCURRENCIES)

    def with_sample(self, concurrency: float, tokens_per_s: float, requests: int = 1) -> "Curve":
        """Return it with what so many more requests showed."""
        place = step_of(concurrency)
        count, before = self.observations[place], self.tokens_per_s[place]
        share = max(1.0 - (1.0 - WEIGHT) ** requests, requests / (count + requests))
        return self._with(place, before + share * (tokens_per_s - before), count + requests)

    def without(self, step: int) -> "Curve":
        """Return it as if it had never been seen at a step."""
        return self._with(CONCURRENCIES.index(step), 0.0, 0)

    def knows(self, step: int) -> bool:
        """Tell whether enough was seen at a step."""
        return self.observations[CONCURRENCIES.index(step)] >= OBSERVATIONS_MIN

    def known(self) -> dict[int, float]:
        """Return the tokens per second of the steps that are known."""
        pairs = zip(CONCURRENCIES, self.tokens_per_s, strict=True)
        return {step: round(speed, 2) for step, speed in pairs if self.knows(step)}

    def limit_after(self, limit: int, least: int) -> int:
        """Return the step to limit a replica to, after `limit`; 0 is none.

        Steps below that of `least` seats do not count. A knee is known once a higher step was seen,
        too, and brought no more.
        """
        lowest = CONCURRENCIES[step_of(least)]
        limit = max(limit, lowest) if limit else 0
        known = {step: speed for step, speed in self.known().items() if step >= lowest}
        if len(known) < 2:
            return limit
        best = max(known.values())
        knee = next(step for step, speed in known.items() if speed >= KNEE_SHARE * best)
        if limit and knee > limit and known.get(limit, 0.0) >= RAISE_SHARE * best:
            return limit
        return knee if knee < max(known) else 0

    def _with(self, place: int, tokens_per_s: float, count: int) -> "Curve":
        speeds, counts = list(self.tokens_per_s), list(self.observations)
        speeds[place], counts[place] = tokens_per_s, count
        return Curve(tokens_per_s=tuple(speeds), observations=tuple(counts))


@dataclass(frozen=True, slots=True)
class UsefulSeats:
    """What is known of one model on one engine and kind of machine."""

    curve: Curve
    limit: int = 0
    """Requests at a time past which nothing is gained; 0 while that is unknown."""
    probe_at_s: float = 0.0
    """Monotonic time from which more may be tried."""
    judge_at_s: float = 0.0
    """Monotonic time from which the limit may change again."""
    probing: bool = False
    """The step above the limit is being tried."""

    def settled(self, *, least: int, waited_for: bool, now: float) -> "UsefulSeats":
        """Return it after a look at its curve; `waited_for`: more are there than are let in."""
        limit = self.curve.limit_after(self.limit, least)
        if self.probing:
            tried = self._next()
            if tried and not self.curve.knows(tried):
                return self
            pause_s = PROBE_S if limit == self.limit else REST_S
            return UsefulSeats(self.curve, limit, now + pause_s, now + REST_S)
        if limit != self.limit and now >= self.judge_at_s:
            return UsefulSeats(self.curve, limit, now + PROBE_S, now + REST_S)
        tried = self._next()
        if tried and waited_for and now >= self.probe_at_s:
            return replace(self, curve=self.curve.without(tried), probing=True)
        return self

    def seats(self, reported: int, least: int) -> int:
        """Return how many requests at a time a replica is given that has `reported` seats.

        Never more than it has, and never fewer than `least` (or than it has) and than one.
        """
        limit = (self._next() or self.limit) if self.probing else self.limit
        return max(1, min(reported, max(limit, least))) if limit else reported

    def _next(self) -> int:
        """Return the step above the limit; 0 where there is none."""
        place = step_of(self.limit) + 1
        return CONCURRENCIES[place] if self.limit and place < len(CONCURRENCIES) else 0
