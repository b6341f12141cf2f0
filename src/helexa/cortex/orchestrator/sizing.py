"""How many replicas of a model there should be. Pure.

    replicas needed = expected concurrency / (seats of a replica x target utilisation)

- The expected concurrency is Little's law (request rate x service time), or what is under way and
  waiting, if that is more.
- Up: when the replicas have been asked for more than they bear for `scale_up_after_s`; from zero at
  once.
- Down, one at a time: when one fewer would have borne it with a margin for all of `cooldown_s`.
  The margin lies between "too many" and "too few", so a steady load moves nothing.
- To zero: when nobody has asked for `keep_alive_s`, and only where `min_replicas` is 0.
- By forecast: as many as were regularly needed at this hour are there before it begins, and stay to
  its end. Where nobody came meanwhile, they leave then; else by the rules above.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

from helexa.cortex.orchestrator.rules import ModelRules, ProvisioningPolicy

DEMAND_S: Final = 300.0
"""A model that was asked for and could not be loaded is given up after this time."""
MARGIN: Final = 0.8
"""One replica fewer must bear the load with this share of its capacity."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a model's replicas have to bear."""

    expected: float
    """Concurrent requests to plan for."""
    wanted: bool
    """Somebody waits for it, or asked for it to be loaded."""
    idle_s: float
    """For how long nobody has asked for it; 0 while it is in use."""
    seats: int
    """Requests that one replica bears; 0 while unknown."""
    loaded: int
    """Replicas that are there now."""
    warm: int = 0
    """Replicas that should be there already, since they are regularly needed at this hour."""
    warm_because: str = ""
    """When that is, and how sure."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How many replicas there should be, and since when more or fewer would be right."""

    replicas: int
    pressed_since_s: float | None = None
    slack_since_s: float | None = None
    because: str = ""
    """Why the number is what it is, for a person."""
    ahead: int = 0
    """How many of them are there by forecast alone: they make room first."""
    ahead_since_s: float | None = None
    """Since when it is loaded by forecast alone, and nobody has come."""


def first_scale(loaded: int, rules: ModelRules) -> Scale:
    """Return the scale of a model that is seen for the first time: what is there is kept."""
    return Scale(min(max(loaded, rules.floor), rules.ceiling()), because="as it was found")


def resize(
    scale: Scale, load: Load, rules: ModelRules, policy: ProvisioningPolicy, now: float
) -> Scale:
    """Return the next scale. It never lies outside the floor and ceiling of the rules."""
    floor, ceiling = rules.floor, rules.ceiling()
    count = min(max(scale.replicas, floor), ceiling)
    if count != scale.replicas:
        return Scale(count, because=f"min_replicas {floor}, max_replicas {rules.max_replicas}")
    warm, since_s = min(load.warm, ceiling), _ahead_since_s(scale, load, now)
    if not warm:
        if since_s is not None:
            return Scale(floor, because="nobody came in the hour for which it was loaded ahead")
        return _by_demand(scale, load, rules, policy, now)
    if count < warm:
        since_s = now if count == 0 and not load.wanted else since_s
        after = Scale(warm, because=f"warm by forecast: {load.warm_because}")
    else:
        after = _by_demand(scale, load, rules, policy, now)
    ahead = _ahead(after.replicas, load, floor, policy, alone=since_s is not None)
    return replace(after, ahead=ahead, ahead_since_s=since_s)


def _ahead_since_s(scale: Scale, load: Load, now: float) -> float | None:
    """Return since when it is there by forecast alone; None as soon as somebody came."""
    since_s = scale.ahead_since_s
    if since_s is None or load.wanted or load.idle_s < now - since_s:
        return None
    return since_s


def _ahead(count: int, load: Load, floor: int, policy: ProvisioningPolicy, *, alone: bool) -> int:
    """Return how many of `count` replicas are there by forecast alone."""
    if alone:
        return count - floor
    per_replica = load.seats * policy.target_utilisation
    needed = math.ceil(load.expected / per_replica) if per_replica > 0 else 0
    return max(min(count, load.warm) - max(needed, floor, 1), 0)


def _by_demand(
    scale: Scale, load: Load, rules: ModelRules, policy: ProvisioningPolicy, now: float
) -> Scale:
    """Return the next scale by what is asked now; what is warm by forecast does not go."""
    floor, ceiling, count = rules.floor, rules.ceiling(), scale.replicas
    if count == 0:
        if load.wanted and ceiling > 0:
            return Scale(1, because="it was asked for")
        return Scale(0, because=scale.because)
    if _may_leave(load, rules, count):
        return Scale(0, because=f"idle for {load.idle_s:.0f} s")
    per_replica = load.seats * policy.target_utilisation
    if per_replica <= 0:
        return Scale(count, because=scale.because)
    if load.expected > count * per_replica and count < ceiling and load.loaded >= count:
        return _pressed(scale, load, per_replica, ceiling, policy, now)
    if count > max(floor, load.warm, 1) and load.expected <= (count - 1) * per_replica * MARGIN:
        return _slack(scale, load, policy, now)
    return Scale(count, because=scale.because)


def _may_leave(load: Load, rules: ModelRules, count: int) -> bool:
    if rules.floor > 0 or count == 0 or load.wanted or load.warm:
        return False
    if load.loaded == 0 and load.idle_s >= DEMAND_S:
        return True  # it never came up, or was lost, and nobody has missed it
    return rules.keep_alive_s is not None and load.idle_s >= rules.keep_alive_s


def _pressed(
    scale: Scale,
    load: Load,
    per_replica: float,
    ceiling: int,
    policy: ProvisioningPolicy,
    now: float,
) -> Scale:
    since_s = scale.pressed_since_s if scale.pressed_since_s is not None else now
    if now - since_s < policy.scale_up_after_s:
        return Scale(scale.replicas, pressed_since_s=since_s, because=scale.because)
    needed = math.ceil(load.expected / per_replica)
    count = min(max(needed, scale.replicas + 1), ceiling)
    because = f"{load.expected:.1f} requests at a time, {per_replica:.1f} planned for a replica"
    return Scale(count, because=because)


def _slack(scale: Scale, load: Load, policy: ProvisioningPolicy, now: float) -> Scale:
    since_s = scale.slack_since_s if scale.slack_since_s is not None else now
    if now - since_s < policy.cooldown_s:
        return Scale(scale.replicas, slack_since_s=since_s, because=scale.because)
    because = f"{load.expected:.1f} requests at a time for {policy.cooldown_s:.0f} s"
    return Scale(scale.replicas - 1, slack_since_s=now, because=because)
