"""The fleet as everyone but its one writer sees it: frozen, whole, replaced at once.

Reading is free of locks: a reader takes the current snapshot and keeps it for one decision.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeVar

from helexa.cortex.orchestrator.circuit import CLOSED, Circuit, CircuitState
from helexa.cortex.orchestrator.demand import Learned, ModelDemand
from helexa.cortex.orchestrator.forecast import Profile
from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.rules import DEFAULT_RULES, ModelRules, ProvisioningPolicy
from helexa.cortex.orchestrator.strategy import DEFAULT_STRATEGY, ProvisioningStrategy
from helexa.protocol.control import ProvisioningCommand, ProvisioningResponse
from helexa.protocol.ids import CommandId, ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelCapability, ModelConfig, ModelStatus
from helexa.protocol.neuron import Capabilities, NeuronDescriptor, NeuronHealth, NeuronLoad
from helexa.protocol.version import VERSION
from helexa.protocol.workload import WorkloadClass

WAITING_PER_REPLICA_MAX: Final = 2
"""Requests sent to a replica past its seats, so that no seat is empty while its next request is on
its way. All others wait in the gateway, where they can still go first, elsewhere, or away."""
_K = TypeVar("_K")
_V = TypeVar("_V")


def frozen(mapping: dict[_K, _V]) -> Mapping[_K, _V]:
    """Return a read-only view of a mapping that its owner no longer changes."""
    return MappingProxyType(mapping)


def thawed(mapping: Mapping[_K, _V]) -> dict[_K, _V]:
    """Return a copy that may be changed; of what `frozen` returned, `dict` would be slow."""
    return mapping.copy() if isinstance(mapping, MappingProxyType) else dict(mapping)


@dataclass(frozen=True, slots=True)
class Replica:
    """One loaded model on one neuron that may be sent requests."""

    model_id: ModelId
    neuron_id: NeuronId
    epoch: int
    """Of the neuron's process; a stream is opened only on this very one."""
    capability: ModelCapability
    healthy: bool = True
    """False while its circuit is open: too many of its requests failed."""
    probing: bool = False
    """Its circuit is half-open: it gets one request at a time."""
    suspect: bool = False
    """The neuron has been silent for a while: it gets no new requests."""
    cordoned: bool = False
    """The neuron is drained and this model is served elsewhere: it gets no new requests."""
    active_requests: int = 0
    """As the neuron last reported, up to a heartbeat old; the gateway knows its own exactly."""
    waiting_requests: int = 0
    """Requests in the neuron's own queue, as it last reported."""
    circuit: CircuitState = CircuitState.CLOSED
    """Also told where it does not count, because too many replicas of the model fail."""
    dialects: tuple[str, ...] = ("openai",)
    """Of the APIs that the gateway speaks, those that its neuron takes requests in."""
    useful_seats: int | None = None
    """Requests at a time past which its engine makes no more tokens: fewer than its engine's seats;
    None where that was not learned."""
    connection: int = 0
    """Of its neuron; among those that a request is kept from, 0 is any."""

    @property
    def seats(self) -> int:
        """Return how many requests it is given at a time; at least 1."""
        return self.useful_seats or self.capability.seats or 1

    @property
    def open_max(self) -> int:
        """Return how many requests may be open on it.

        `WAITING_PER_REPLICA_MAX` more than its engine works on wait in the neuron; where it is
        given fewer than that, one more would not wait there, but be worked on beside the others.
        """
        own = self.capability.seats or 1
        return self.seats if self.seats < own else own + WAITING_PER_REPLICA_MAX


@dataclass(frozen=True, slots=True)
class Pending:
    """A provisioning command that was sent and whose effect has not been seen yet."""

    command_id: CommandId
    command: ProvisioningCommand
    sent_s: float
    deadline_s: float
    """After this it counts as lost, and the next reconcile decides anew."""
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class Instance:
    """One model on one neuron: what is reported and what was asked for."""

    status: ModelStatus | None = None
    """None while the neuron has not reported the model."""
    known_digest: str = ""
    """Of the config that the neuron has for the model; empty when it has none."""
    pending: Pending | None = None
    not_before_s: float = 0.0
    """No load is asked for before this time."""
    recovering: bool = False
    """It failed and the neuron itself tries again, until `not_before_s`."""
    refusals: int = 0
    """Commands refused in a row."""
    because: str = ""
    """Why the neuron last refused."""
    owned: bool = False
    """This cortex put it there; only then is it taken away again when nobody wants it."""
    lent: bool = False
    """This cortex loaded it on request, by a config of the neuron's own that no config of cortex
    names: it leaves when it is idle, and its config stays."""
    circuit: Circuit = CLOSED
    """How its requests ended, as far as the neuron or engine is to answer for it."""
    since_s: float = 0.0
    """When it entered its state."""
    makes_room_for: ModelId | None = None
    """It was told to leave, so that this model can be loaded here."""

    @property
    def state(self) -> ModelState:
        """Return the reported state; a model that was never reported is unloaded."""
        return self.status.state if self.status is not None else ModelState.UNLOADED


@dataclass(frozen=True, slots=True)
class DesiredModel:
    """A model that is configured or asked for, and how many replicas of it should run now."""

    config: ModelConfig
    digest: str
    replicas: int = 1
    """0: it is known, and loaded when somebody asks for it."""
    demanded: bool = False
    """Not in the config: a neuron knows it and a request asked for it."""
    cause: str = ""
    rules: ModelRules = DEFAULT_RULES
    waiting_since_s: float | None = None
    """Since when requests wait for it; None: nobody does."""
    because: str = ""
    """Why so many replicas."""
    set_aside: bool = False
    """An operator unloaded it; it stays away until somebody asks for it."""
    warm: int = 0
    """Replicas that are regularly needed at this hour."""
    ahead: int = 0
    """How many of `replicas` should be there by forecast alone; they make room for all others."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What provisioning goes by, beside the neurons and what is desired."""

    demand: Mapping[ModelId, ModelDemand] = field(default_factory=lambda: MappingProxyType({}))
    """Each as of its own time (`at_s`)."""
    learned: Learned = field(default_factory=Learned)
    policy: ProvisioningPolicy = field(default_factory=ProvisioningPolicy)
    strategy: ProvisioningStrategy = DEFAULT_STRATEGY
    profiles: Mapping[ModelId, Profile] = field(default_factory=lambda: MappingProxyType({}))
    """At which hours models were asked for, of those that ever were."""


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
    desired: bool = False
    """It is in cortex's own config (or spec), or was asked for by a request."""
    outdated: bool = False
    """Some neuron runs it with an older config; it changes when the model is next loaded."""
    loadable: bool = False
    """Not loaded, and some neuron could take it: reporting `ModelWanted` gets it loaded."""
    next_attempt_s: float | None = None
    """Monotonic time of the next attempt to load it, while every neuron waits after a failure."""
    wanted: int = 0
    """Replicas that should run now."""
    ready_at_s: float | None = None
    """Monotonic time at which its load should be done, by what loads took before."""
    pinned: bool = False
    expected: bool = False
    """Not loaded, and a neuron that has it or may take it is not back since cortex restarted."""
    lent: bool = False
    """Some neuron has it because somebody asked, and no config names it (`Instance.lent`)."""


@dataclass(frozen=True, slots=True)
class NeuronView:
    """One known neuron."""

    descriptor: NeuronDescriptor
    capabilities: Capabilities
    health: NeuronHealth
    load: NeuronLoad
    connected: bool
    suspect: bool
    last_heard_s: float
    """Monotonic time of the last frame."""
    models: Mapping[ModelId, ModelState] = field(default_factory=lambda: MappingProxyType({}))
    state: NeuronState = NeuronState.CONNECTED
    since_s: float = 0.0
    """Monotonic time since when it is in this state."""
    connection: int = 0
    instances: Mapping[ModelId, Instance] = field(default_factory=lambda: MappingProxyType({}))
    answers: tuple[ProvisioningResponse, ...] = ()
    """The last answers to commands, oldest first."""
    conflicts: int = 0
    """Newcomers with the same id that were refused."""
    faults: int = 0
    """Reports of it that the lifecycle table does not allow."""
    version: int = VERSION
    """Of the protocol that is spoken with it."""
    cordoned: bool = False
    """An operator wants no further models placed here."""
    draining: bool = False
    """An operator wants its models to move elsewhere and leave."""


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """Everything that routing and showing need, as of one moment."""

    version: int = 0
    plan: int = 0
    """Rises when something changed that placement looks at; with the same number there is nothing
    new to reconcile."""
    taken_s: float = 0.0
    models: Mapping[str, ModelView] = field(default_factory=lambda: MappingProxyType({}))
    """By model id; aliases are resolved by `names`."""
    names: Mapping[str, ModelId] = field(default_factory=lambda: MappingProxyType({}))
    """Every id and alias that a caller may use."""
    neurons: Mapping[NeuronId, NeuronView] = field(default_factory=lambda: MappingProxyType({}))
    default_models: Mapping[WorkloadClass, ModelId] = field(
        default_factory=lambda: MappingProxyType({})
    )
    desired: Mapping[ModelId, DesiredModel] = field(default_factory=lambda: MappingProxyType({}))
    """Every configured model, and those that were asked for."""
    outlook: Outlook = field(default_factory=Outlook)
    memo: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """What routing found out about this very snapshot: a cache that dies with it."""


EMPTY = FleetSnapshot()
