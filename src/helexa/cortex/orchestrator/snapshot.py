"""The fleet as everyone but its one writer sees it: frozen, whole, replaced at once.

Reading is free of locks: a reader takes the current snapshot and keeps it for one decision.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelCapability, ModelConfig
from helexa.protocol.neuron import Capabilities, NeuronDescriptor, NeuronHealth, NeuronLoad


@dataclass(frozen=True, slots=True)
class Replica:
    """One loaded model on one neuron that may be sent requests."""

    model_id: ModelId
    neuron_id: NeuronId
    epoch: int
    """Of the neuron's registration; a stream is opened only on this very one."""
    capability: ModelCapability
    healthy: bool = True
    suspect: bool = False
    """The neuron has been silent for a while: used only when nothing better is there."""
    active_requests: int = 0
    """As last reported; the gateway adds what it sent since."""


@dataclass(frozen=True, slots=True)
class ModelView:
    """One wanted or found model across the fleet."""

    config: ModelConfig
    replicas: tuple[Replica, ...] = ()
    states: Mapping[NeuronId, ModelState] = field(default_factory=lambda: MappingProxyType({}))
    loading: bool = False
    """Some neuron is loading it, or will be told to."""
    progress: float | None = None
    because: str = ""
    """Why it cannot be served now, for a person to read; empty when it can."""
    unplaceable: bool = False
    """No registered neuron can hold it; waiting will not help until the fleet changes."""
    capability: ModelCapability | None = None


@dataclass(frozen=True, slots=True)
class NeuronView:
    """One registered neuron."""

    descriptor: NeuronDescriptor
    capabilities: Capabilities
    health: NeuronHealth
    load: NeuronLoad
    connected: bool
    suspect: bool
    last_heard_s: float
    """Monotonic time of the last frame."""
    models: Mapping[ModelId, ModelState] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """Everything that routing and showing need, as of one moment."""

    version: int = 0
    taken_s: float = 0.0
    models: Mapping[str, ModelView] = field(default_factory=lambda: MappingProxyType({}))
    """By model id; aliases are resolved by `names`."""
    names: Mapping[str, ModelId] = field(default_factory=lambda: MappingProxyType({}))
    """Every id and alias that a caller may use."""
    neurons: Mapping[NeuronId, NeuronView] = field(default_factory=lambda: MappingProxyType({}))


EMPTY = FleetSnapshot()
