"""What routing is asked and what it answers. Values only, pure."""

import zlib
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from helexa.cortex.orchestrator.pace import UNKNOWN, Pace
from helexa.cortex.orchestrator.prefix import Holder, holder_of
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
    principal: str = ""
    """The id of the caller's key; empty for callers without one."""
    session: str = ""
    """What the caller's requests of one conversation have in common; empty where not told."""
    prefix: tuple[int, ...] = ()
    """The prompt's block hashes (`prefix.blocks_of`); empty for prompts too small to matter."""
    prompt_bytes: int = 0
    """Size of the prompt; 0 where it is small or does not matter."""


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A replica with its load at the moment of the decision."""

    replica: Replica
    in_flight: int
    """Requests this gateway has open on it."""
    seats: int
    """Requests that it is given at the same time; at least 1."""
    pace: Pace
    """How fast it has been."""
    holder: Holder
    """As whom the prefix index knows it."""
    mark: int
    """A hash of its neuron's name."""


def candidate_of(replica: Replica, in_flight: int, pace: Pace = UNKNOWN) -> Candidate:
    """Return a replica as a candidate with so many requests of this gateway open on it."""
    neuron_id = replica.neuron_id
    seats = replica.useful_seats or replica.capability.seats or 1  # `Replica.seats`, without a call
    mark = zlib.crc32(neuron_id.encode())
    return Candidate(replica, in_flight, seats, pace, holder_of(neuron_id, replica.epoch), mark)


class Choice(NamedTuple):
    """What a strategy chose among candidates, and why in one word."""

    candidate: Candidate
    reason: str
    """`only`, `least_loaded`, `prefix`, `session`, `spill` (who knew the prompt or session was too
    busy), or a word of the strategy's own."""


class Share(NamedTuple):
    """What one scorer said of all candidates, in their order; lower is better."""

    name: str
    weight: float
    values: tuple[float, ...]


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
    reason: str = "only"
    """Why this one, in one word: see `Choice`."""

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
    """Each scorer's share, unweighted; a scorer that had nothing to say is not named."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a request would go where it goes, or why it is refused."""

    model_id: ModelId | None
    chosen: NeuronId | None
    because: str
    findings: tuple[Finding, ...] = ()
    reason: str = ""
    """The word of the decision; empty for a refusal."""
    strategy: str = ""
    weights: tuple[tuple[str, float], ...] = ()
    """Of the scorers that had something to say."""
