"""What an operator can ask of a model and of provisioning as a whole, as values. Pure.

They come from the config file and the spec; `helexa.cortex.spec` translates. What the fleet learns
by itself (`demand`) never changes them: it only chooses within them.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from helexa.protocol.ids import ModelId, NeuronId


class Priority(IntEnum):
    """A model's class: it may displace models of its own class or a lower one, never a higher."""

    LOW = 0
    NORMAL = 1
    HIGH = 2


@dataclass(frozen=True, slots=True)
class PlacementRules:
    """Where a model may be. An empty rule allows everything."""

    neurons: frozenset[NeuronId] = frozenset()
    """Only on these."""
    labels: tuple[tuple[str, str], ...] = ()
    """Only on neurons that have all of these labels."""
    beside: frozenset[ModelId] = frozenset()
    """Only on neurons that have these models; one that runs nowhere binds nobody."""
    apart_from: frozenset[ModelId] = frozenset()
    """Never on a neuron that has one of these; it binds both sides."""
    spread: bool = False
    """Rather on a host and in a `zone` (a label) where no other replica of it is."""


ANYWHERE: Final = PlacementRules()


@dataclass(frozen=True, slots=True)
class ModelRules:
    """What is asked of one model."""

    min_replicas: int = 1
    max_replicas: int | None = 1
    """None: as many as are needed and fit."""
    guaranteed: bool = False
    """`min_replicas` was asked for by name: no model of the same class may displace them. One
    that is merely loaded ahead makes room for a model that somebody waits for."""
    weight: float = 1.0
    """Who comes first among equals."""
    priority: Priority = Priority.NORMAL
    keep_alive_s: float | None = None
    """An idle model leaves after this time; None: never. It never leaves `min_replicas`."""
    pinned: bool = False
    """It is never evicted and never leaves for being idle."""
    forecast: bool = True
    """It is loaded ahead of the hours at which it is regularly wanted, up to `max_replicas`."""
    placement: PlacementRules = ANYWHERE

    @property
    def floor(self) -> int:
        """Return how many replicas there are at the least."""
        return max(self.min_replicas, 1) if self.pinned else self.min_replicas

    def ceiling(self) -> int:
        """Return how many replicas there are at most."""
        return REPLICAS_MAX if self.max_replicas is None else max(self.max_replicas, self.floor)


REPLICAS_MAX: Final = 1_000_000
DEFAULT_RULES: Final = ModelRules()


@dataclass(frozen=True, slots=True)
class ProvisioningPolicy:
    """The knobs of provisioning that hold for the whole fleet."""

    models_per_neuron_max: int | None = None
    scale_up_after_s: float = 10.0
    """More than the replicas bear must be asked of them for this long before one is added."""
    cooldown_s: float = 300.0
    """One replica fewer must have been enough for this long before one is taken away."""
    target_utilisation: float = 0.8
    """Share of a replica's seats that is planned with."""
    learned_seats_min: int = 2
    """What was learned of its useful seats leaves a replica at least so many."""
    keep_alive_s: float | None = 900.0
    """An idle model that no config names, and that was loaded on request, leaves after this time;
    None: never. Each model that a config names has its own."""
    hold_max_s: float = 20.0
    """A model in use makes room for one that is waited for after this time at the latest; until
    then the requests of the loaded one are served first, together."""
    idle_min_s: float = 2.0
    """A model makes room only when it has been idle for this long, or after `hold_max_s`."""
