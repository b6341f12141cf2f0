"""What goes wrong in a simulated world, and when: a plan. From a seed, from hypothesis, or kept.

A plan is small and plain on purpose: it can be shrunk by leaving faults out, and written down.
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

KINDS: Final = (
    "cut",  # the socket closes, with all that was on its way
    "block",  # nothing gets through for a while; what was sent arrives later, or never
    "slow",  # the neuron's link takes ten times as long for a while
    "lossy",  # control messages of the neuron vanish for a while: a peer's bug, not TCP's
    "crash_neuron",  # the process dies and comes back with its configs and nothing running
    "crash_engine",  # an engine dies, and the requests on it
    "fail_loads",  # for a while, every load on the neuron fails
    "slow_loads",  # for a while, loads take ten times as long
    "pressure",  # another process takes half of the memory budget for a while
    "restart_cortex",  # cortex dies and comes back with what it had written down
    "lose",  # a neuron dies for good
    "leave",  # the neuron says goodbye and comes back
    "burst",  # many requests for one model at once
    "spec",  # a model is no longer wanted: for a while, or for good if that is over twenty seconds
    "stall",  # cortex itself does not run for some seconds
)
SEEDS_DIR: Final = Path(__file__).parent / "seeds"
LONGEST_S: Final = 60.0


class Fault(msgspec.Struct, frozen=True):
    """`target` picks a neuron, or a model; `amount_s` is how long it lasts."""

    at_s: float
    kind: str
    target: int = 0
    amount_s: float = 5.0


class Plan(msgspec.Struct, frozen=True):
    """A whole run: the seed shapes the world and its traffic, the faults are given."""

    seed: int
    faults: tuple[Fault, ...] = ()
    calm_s: float = 20.0
    """Traffic goes on for so long after the last fault."""
    because: str = ""
    """What this plan once found; for people."""

    @property
    def ends_s(self) -> float:
        """When the last fault is over."""
        return max((f.at_s + f.amount_s for f in self.faults), default=0.0)


def plan_of(seed: int) -> Plan:
    """Draw a plan; the same seed draws the same one, in every version of Python."""
    dice = random.Random(f"faults {seed}")
    count = dice.choice((0, 1, 2, 3, 4, 6, 8, 12))
    faults = sorted(
        (
            Fault(
                at_s=round(5 + dice.random() * 85, 2),
                kind=dice.choice(KINDS),
                target=dice.randrange(8),
                amount_s=round(min(0.3 + dice.expovariate(1 / 10), LONGEST_S), 2),
            )
            for _ in range(count)
        ),
        key=lambda fault: fault.at_s,
    )
    return Plan(seed=seed, faults=tuple(faults))


def shrunk(plan: Plan, fails: Callable[[Plan], bool], tries_max: int = 200) -> Plan:
    """Return a smallest plan that still fails: faults are left out in ever smaller groups."""
    faults, size, tries = list(plan.faults), max(len(plan.faults) // 2, 1), 0
    while faults and tries < tries_max:
        start, dropped = 0, False
        while start < len(faults) and tries < tries_max:
            fewer = [*faults[:start], *faults[start + size :]]
            tries += 1
            if fails(Plan(seed=plan.seed, faults=tuple(fewer))):
                faults, dropped = fewer, True
            else:
                start += size
        if size == 1 and not dropped:
            break
        size = max(size // 2, 1)
    return Plan(seed=plan.seed, faults=tuple(faults))


def kept_plans() -> dict[str, Plan]:
    """Return every plan that once found something, by the name of its file."""
    return {
        path.name: msgspec.json.decode(path.read_bytes(), type=Plan)
        for path in sorted(SEEDS_DIR.glob("*.json"))
    }


def keep(plan: Plan, because: str) -> Path:
    """Write a plan down as a regression test."""
    path = SEEDS_DIR / f"seed-{plan.seed}.json"
    kept = msgspec.structs.replace(plan, because=because[:300])
    path.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")
    return path
