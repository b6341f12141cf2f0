"""What can happen to a fleet. Values only; `FleetState.apply` is the one place that acts on them.

A connection is a number that cortex gives each websocket. Events of a connection that is no longer
the neuron's current one are ignored: nothing of an old connection is ever booked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from helexa.cortex.orchestrator.demand import DemandSample
from helexa.cortex.orchestrator.remembered import DemandMemory
from helexa.cortex.orchestrator.rules import ModelRules, ProvisioningPolicy
from helexa.protocol.control import ProvisioningResponse, Register
from helexa.protocol.ids import CommandId, ModelId, NeuronId
from helexa.protocol.model import ModelConfig, ModelStatus
from helexa.protocol.neuron import Capabilities, NeuronDescriptor, NeuronHealth, NeuronLoad


@dataclass(frozen=True, slots=True)
class NeuronRegistered:
    """A neuron's first frame on a new connection."""

    connection: int
    register: Register
    cause: str = ""


@dataclass(frozen=True, slots=True)
class NeuronHeard:
    """When the connection's last frame of any kind came in; reported in bulk before each tick."""

    neuron_id: NeuronId
    connection: int
    heard_s: float


@dataclass(frozen=True, slots=True)
class NeuronBeat:
    """A heartbeat. `models` is the whole list: what it does not name, the neuron does not have."""

    neuron_id: NeuronId
    connection: int
    health: NeuronHealth
    load: NeuronLoad
    models: tuple[ModelStatus, ...]
    capabilities_generation: int = 0
    """Of the capabilities that the neuron told last; 0 where it does not say."""


@dataclass(frozen=True, slots=True)
class CapabilitiesChanged:
    """A neuron's hardware, engines or budget, with the whole list of its models."""

    neuron_id: NeuronId
    connection: int
    capabilities: Capabilities
    models: tuple[ModelStatus, ...]


@dataclass(frozen=True, slots=True)
class ModelReported:
    """One model changed its state on a neuron."""

    neuron_id: NeuronId
    connection: int
    status: ModelStatus


@dataclass(frozen=True, slots=True)
class HealthReported:
    """Something broke or healed on a neuron."""

    neuron_id: NeuronId
    connection: int
    health: NeuronHealth


@dataclass(frozen=True, slots=True)
class CommandAnswered:
    """A neuron answered a provisioning command."""

    neuron_id: NeuronId
    connection: int
    response: ProvisioningResponse


@dataclass(frozen=True, slots=True)
class CommandUndelivered:
    """A command could not be sent: its connection was gone or its buffer full."""

    neuron_id: NeuronId
    connection: int
    command_id: CommandId
    because: str


@dataclass(frozen=True, slots=True)
class NeuronLeaving:
    """A neuron announced that it is shutting down."""

    neuron_id: NeuronId
    connection: int
    reason: str


@dataclass(frozen=True, slots=True)
class NeuronGone:
    """A neuron's connection ended."""

    neuron_id: NeuronId
    connection: int
    reason: str


@dataclass(frozen=True, slots=True)
class NeuronRestored:
    """A neuron that cortex knew before it restarted; it is waited for, and never routed to."""

    neuron: NeuronDescriptor
    capabilities: Capabilities
    models: tuple[ModelStatus, ...]
    owned: frozenset[ModelId] = frozenset()
    """Models that this cortex had put there."""
    lent: frozenset[ModelId] = frozenset()
    """Models that it had loaded there on request, by the neuron's own configs."""
    cordoned: bool = False
    draining: bool = False


@dataclass(frozen=True, slots=True)
class NeuronMarked:
    """An operator set a neuron's marks, whole; both False is what every neuron begins with.

    `cordoned`: no model is placed there any more. `draining`: its models move elsewhere where they
    are needed and leave once their requests are done; it implies `cordoned`.
    """

    neuron_id: NeuronId
    cordoned: bool
    draining: bool
    cause: str = ""


@dataclass(frozen=True, slots=True)
class DesiredChanged:
    """What should run is now this, whole: the models, and what is asked of each."""

    models: tuple[ModelConfig, ...]
    rules: Mapping[ModelId, ModelRules] = field(default_factory=dict)
    """One replica, loaded ahead, where a model is not named."""
    policy: ProvisioningPolicy | None = None
    """None: the knobs stay as they are."""
    cause: str = ""


@dataclass(frozen=True, slots=True)
class ModelWanted:
    """A request or a person asks for a model that is not loaded."""

    model_id: ModelId
    cause: str = ""


@dataclass(frozen=True, slots=True)
class ModelUnwanted:
    """An operator unloads a model everywhere; it stays away until somebody asks for it again."""

    model_id: ModelId
    cause: str = ""


@dataclass(frozen=True, slots=True)
class ModelPinned:
    """An operator pins a model, so that it is never evicted and never leaves, or unpins it."""

    model_id: ModelId
    pinned: bool
    cause: str = ""


@dataclass(frozen=True, slots=True)
class DemandSampled:
    """What the gateways saw of each model since the last event of this kind."""

    samples: tuple[DemandSample, ...]
    local_s: float | None = None
    """Seconds since 1970-01-01 00:00 by the clock on cortex's wall, its time zone included; None:
    nobody knows the date, and nothing is forecast."""


@dataclass(frozen=True, slots=True)
class DemandRestored:
    """What was learned before cortex restarted; it comes before everything else."""

    memory: DemandMemory
    away_s: float = 0.0
    """Seconds since it was written."""


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """How requests ended on a replica, as far as the neuron or engine is to answer for it.

    `ok` is False for a lost connection, a crash or garbage; never for the caller's own mistakes.
    """

    neuron_id: NeuronId
    model_id: ModelId
    ok: bool
    latency_ms: float
    cause: str = ""
    count: int = 1
    """How many requests ended so; the latency is the last one's."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed: deadlines, silence and waits are looked at."""


Event = (
    NeuronRegistered
    | NeuronHeard
    | NeuronBeat
    | CapabilitiesChanged
    | ModelReported
    | HealthReported
    | CommandAnswered
    | CommandUndelivered
    | NeuronLeaving
    | NeuronGone
    | NeuronRestored
    | NeuronMarked
    | DesiredChanged
    | ModelWanted
    | ModelUnwanted
    | ModelPinned
    | DemandSampled
    | DemandRestored
    | RequestOutcome
    | Tick
)
