"""A replica whose requests keep failing is taken out of routing for a while. Pure.

    closed ──ratio of failures too high──► open ──its time is over──► half_open ──success──► closed
                                             ▲                            │
                                             └──────────failure───────────┘ (for longer each time)

Failures and successes are counted with an exponential decay (`HALF_LIFE_S`), so the ratio rolls.
Successes are counted while a replica is in trouble; that is all the ratio needs. A half-open
replica gets one request at a time, its probe. `restricted_of` keeps a model served when all of
its replicas fail: of those, at most half are taken out, the worst ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

HALF_LIFE_S: Final = 10.0
"""After this time an outcome counts half."""
FAILURES_MIN: Final = 2.5
"""Fewer failures than this, decayed, open nothing: three within a few seconds do."""
RATIO_MAX: Final = 0.5
"""Failures by all outcomes from which a circuit opens."""
OPEN_S: Final = 10.0
"""How long it stays open; doubles each time that a probe fails."""
OPEN_CEILING_S: Final = 60.0
TROUBLE_S: Final = 30.0
"""Successes are reported for this long after a failure; later ones could not matter."""
RESTRICTED_SHARE_MAX: Final = 0.5
"""Share of a model's replicas that may be out of routing or on probation at once."""


class CircuitState(StrEnum):
    """What a replica may be sent."""

    CLOSED = "closed"
    """Everything."""
    OPEN = "open"
    """Nothing."""
    HALF_OPEN = "half_open"
    """One request at a time, to see whether it works again."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """The outcomes of one replica's requests, decayed, and what follows from them."""

    state: CircuitState = CircuitState.CLOSED
    failed: float = 0.0
    succeeded: float = 0.0
    counted_s: float = 0.0
    """When the counts were last brought up to date."""
    open_until_s: float = 0.0
    trips: int = 0
    """How often it opened without having closed in between."""

    def ratio(self) -> float:
        """Return failures by all outcomes, 0.0 to 1.0."""
        total = self.failed + self.succeeded
        return self.failed / total if total else 0.0

    def remark(self) -> tuple[str, str, str]:
        """Return what the log says of a new state: event, level and why."""
        level = "warning" if self.state is CircuitState.OPEN else "info"
        because = f"{self.ratio():.0%} of its requests failed of late" if self.failed else ""
        return f"circuit_{self.state}", level, because


CLOSED: Final = Circuit()


def ended(circuit: Circuit, *, ok: bool, count: int, now: float) -> Circuit:
    """Count `count` requests that ended alike."""
    if ok and circuit.state is CircuitState.HALF_OPEN:
        return CLOSED
    if ok and not circuit.failed:
        return circuit
    share = 0.5 ** (max(now - circuit.counted_s, 0.0) / HALF_LIFE_S)
    circuit = replace(
        circuit,
        failed=circuit.failed * share + (0 if ok else count),
        succeeded=circuit.succeeded * share + (count if ok else 0),
        counted_s=now,
    )
    if ok or circuit.state is CircuitState.OPEN:
        return circuit
    if circuit.state is CircuitState.HALF_OPEN:
        return _opened(circuit, now)
    bad = circuit.failed >= FAILURES_MIN and circuit.ratio() >= RATIO_MAX
    return _opened(circuit, now) if bad else circuit


def passed(circuit: Circuit, now: float) -> Circuit:
    """Let time pass: an open circuit is tried again, and old failures are forgotten."""
    if circuit.state is CircuitState.OPEN and circuit.open_until_s <= now:
        return replace(circuit, state=CircuitState.HALF_OPEN)
    if circuit.state is CircuitState.CLOSED and circuit.failed:
        left = circuit.failed * 0.5 ** (max(now - circuit.counted_s, 0.0) / HALF_LIFE_S)
        if left < 0.1:
            return CLOSED
    return circuit


def _opened(circuit: Circuit, now: float) -> Circuit:
    open_s = min(OPEN_S * 2.0 ** min(circuit.trips, 8), OPEN_CEILING_S)
    return replace(
        circuit,
        state=CircuitState.OPEN,
        open_until_s=now + open_s,
        trips=circuit.trips + 1,
    )


def restricted_of(circuits: Sequence[Circuit]) -> frozenset[int]:
    """Return which of a model's replicas, by their place, are held to their circuit's state.

    The rest is used as if closed, whatever happened: a model that fails everywhere is tried still.
    """
    bad = [place for place, each in enumerate(circuits) if each.state is not CircuitState.CLOSED]
    allowed = int(len(circuits) * RESTRICTED_SHARE_MAX)
    if len(bad) > allowed:
        # Those that failed more often come first; order decides among equals, so it is repeatable.
        bad.sort(key=lambda place: (-circuits[place].trips, -circuits[place].ratio(), place))
        bad = bad[:allowed]
    return frozenset(bad)
