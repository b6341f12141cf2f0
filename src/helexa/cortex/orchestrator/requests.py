"""What routing is asked and what it answers. Values only, pure."""

from dataclasses import dataclass

import msgspec

from helexa.cortex.orchestrator.snapshot import ModelView, Replica
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.neuron import NeuronDescriptor
from helexa.protocol.workload import Operation, WorkloadClass


class RoutingRequest(msgspec.Struct, frozen=True, gc=False):
    """What routing must know of a request, and nothing more."""

    request_id: str
    operation: Operation
    workload_class: WorkloadClass
    model: str | None = None
    """As the caller wrote it: an id, an alias, or None for the default of the class."""
    excluded: tuple[Replica, ...] = ()
    """Replicas that were tried for this request and failed."""
    prompt_tokens_min: int = 0
    """The prompt has at least this many tokens; an estimate that errs low."""
    tools: bool = False
    """The model may call tools: without them the answer would be another one."""
    json_schema: bool = False
    """The answer must be JSON."""


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A replica with its load at the moment of the decision."""

    replica: Replica
    in_flight: int
    """Requests this gateway has open on it."""
    seats: int
    """Requests that it works on at the same time; at least 1."""


class RoutingDecision(msgspec.Struct, frozen=True, gc=False):
    """Where a request goes. In `single` mode one replica answers all of it.

    After a failed attempt the gateway routes again, with the neuron excluded: loads have changed.
    """

    model: ModelView
    replicas: tuple[Replica, ...]
    neurons: tuple[NeuronDescriptor, ...]
    """The replicas' neurons, in the same order."""
    mode: str = "single"
    eligible: int = 1
    """How many replicas could have taken it."""

    @property
    def model_id(self) -> ModelId:
        """Return the model's real id, also where the caller used an alias or named none."""
        return self.model.config.id

    @property
    def replica(self) -> Replica:
        """Return the chosen replica."""
        return self.replicas[0]


@dataclass(frozen=True, slots=True)
class Finding:
    """What routing thought of one replica."""

    neuron_id: NeuronId
    filter: str = ""
    """The filter that removed it; empty for one that was eligible."""
    because: str = ""
    score: float | None = None
    scores: tuple[tuple[str, float], ...] = ()
    """Each scorer's share, unweighted."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a request would go where it goes, or why it is refused."""

    model_id: ModelId | None
    chosen: NeuronId | None
    because: str
    findings: tuple[Finding, ...] = ()
