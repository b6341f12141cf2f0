"""Which loaded model may make room for another, and which goes first. Pure.

One rule for ranking and for evicting. A model makes room when
- it is not pinned, and this cortex may take it away;
- its class is not higher than that of the model which needs the room;
- it is not needed more: replicas that were asked for by name (`min_replicas`) leave only for a
  model of a higher class;
- it is idle and has been for `idle_min_s`; or somebody has waited for `hold_max_s` since both began
  to wait and the model here had its turn. A load that is under way is never broken off.

And the model that needs the room has requests waiting, or is short of its guaranteed replicas. One
that is only forecast takes the place of what has been idle for FORECAST_IDLE_S, is not forecast
itself and not guaranteed, in its own class or a lower one; and gives it up for whoever is waited
for, whatever the classes.

So nothing is evicted for what would then be evicted for it: a model that had to go comes back only
when it is asked for, and the one that replaced it has had `hold_max_s` by then.

Of several, what is there by forecast alone goes first, then the one of the lowest class, then the
longest idle, then the one that is cheapest to load again.
"""

from dataclasses import dataclass
from typing import Final

from helexa.cortex.orchestrator.rules import ModelRules, Priority, ProvisioningPolicy
from helexa.protocol.ids import ModelId

UNKNOWN_LOAD_S: Final = 30.0
"""What a load is taken to cost that was never seen."""
FORECAST_IDLE_S: Final = 600.0
"""Who was used more recently than this may be wanted again before the one that is only forecast."""
IDLE_STEP_S: Final = 60.0
"""Idle times that differ by less than this count as equal, and the cost to reload decides."""


@dataclass(frozen=True, slots=True)
class Held:
    """A model on a neuron, as somebody who needs its memory sees it."""

    model_id: ModelId
    bytes: int
    rules: ModelRules
    idle_s: float
    busy: bool
    loaded: bool
    """False while it is loading."""
    leaving: bool
    """It is on its way out already."""
    loaded_since_s: float
    ours: bool
    """This cortex may take it away."""
    surplus: bool
    """There are more replicas of it than its `min_replicas`."""
    load_s: float | None = None
    """What a load of it takes."""
    warm: bool = False
    """It is regularly needed at this hour."""
    ahead: bool = False
    """This replica is there for that alone, and nobody uses it."""


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A model that needs room."""

    model_id: ModelId
    priority: Priority
    waiting_since_s: float | None
    """Since when requests wait for it; None: nobody does."""
    short: bool
    """It has fewer replicas than it is guaranteed."""
    forecast: bool = False
    """It has fewer replicas than are regularly needed at this hour."""

    @property
    def presses(self) -> bool:
        """Tell whether it may displace whom nobody uses."""
        return self.waiting_since_s is not None or self.short


def refusal(held: Held, newcomer: Newcomer, policy: ProvisioningPolicy, now: float) -> str:
    """Say why a held model may not make room for a newcomer; empty where it may."""
    because = "on its way out" if held.leaving else standing(held, newcomer)
    if because:
        return because
    if not held.loaded:
        return "loading"
    if not newcomer.presses:
        return _forecast_refusal(held, newcomer)
    if held.ahead:
        return ""
    if not held.busy and held.idle_s >= policy.idle_min_s:
        return ""
    if newcomer.waiting_since_s is None:
        return "in use"
    turn_since_s = max(newcomer.waiting_since_s, held.loaded_since_s)
    left_s = policy.hold_max_s - (now - turn_since_s)
    return f"in use for up to {left_s:.0f} s more" if left_s > 0 else ""


def _forecast_refusal(held: Held, newcomer: Newcomer) -> str:
    """Say why a held model may not make room for one that nobody waits for yet."""
    if not newcomer.forecast:
        return f"nobody waits for {newcomer.model_id}"
    if held.warm:
        return "regularly wanted at this hour, too"
    if held.rules.guaranteed and not held.surplus:
        return f"kept by min_replicas {held.rules.min_replicas}"
    if held.busy or held.idle_s < FORECAST_IDLE_S:
        return f"in use less than {FORECAST_IDLE_S / 60:.0f} min ago"
    return ""


def standing(held: Held, newcomer: Newcomer) -> str:
    """Say what keeps a held model for good, whatever happens in the next minute."""
    if held.leaving:
        return ""
    if held.rules.pinned:
        return "pinned"
    if not held.ours:
        return "not loaded by this cortex"
    if held.rules.priority > newcomer.priority and not (held.ahead and newcomer.presses):
        return f"of a higher priority ({held.rules.priority.name.lower()})"
    guaranteed = held.rules.guaranteed and not held.surplus
    if guaranteed and held.rules.priority >= newcomer.priority:
        return f"kept by min_replicas {held.rules.min_replicas}"
    return ""


def retention_key(held: Held) -> tuple[float, ...]:
    """Return what to keep is sorted by: the smallest goes first."""
    cost_s = held.load_s if held.load_s is not None else UNKNOWN_LOAD_S
    return (
        float(not held.ahead),
        float(held.rules.priority),
        -float(held.idle_s // IDLE_STEP_S),
        cost_s,
        held.rules.weight,
    )
