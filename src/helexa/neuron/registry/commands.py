"""Everything that the registry can ask of the shell around it. Values only.

Each command that starts work is answered by exactly one event of the same `attempt` (unless it is
cancelled), so that the machine always knows what is under way.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from helexa.neuron.registry.events import FetchedWeights
from helexa.protocol.control import ProvisioningResponse
from helexa.protocol.errors import Refusal
from helexa.protocol.ids import ModelId
from helexa.protocol.model import ModelCapability, ModelConfig, ModelStatus


@dataclass(frozen=True, slots=True)
class RunningModel:
    """A model that may be sent requests, and where: what a model id resolves to."""

    model_id: ModelId
    engine: str
    endpoint: str
    headers: Mapping[str, str] = field(repr=False)  # the engine's key is in it
    config: ModelConfig
    capability: ModelCapability
    worker_id: str
    """Names this very engine process; a restarted one has another."""
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchWeights:
    """Bring the weights here. Answered by `WeightsReady` or `WeightsFailed`."""

    model_id: ModelId
    attempt: int
    source: str
    engine: str
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelFetch:
    """Nobody wants these weights any more. Not answered."""

    model_id: ModelId
    attempt: int
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAtWeights:
    """Read the header of weights that are here already. Answered by `WeightsSeen`, if they are."""

    model_id: ModelId
    source: str
    engine: str
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartEngine:
    """Start the engine (or attach). Answered by `EngineSpawned` or `EngineFailed`."""

    model_id: ModelId
    attempt: int
    config: ModelConfig
    weights: FetchedWeights
    capability: ModelCapability
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeEngine:
    """Wait until it serves: health and a canary. Answered by `EngineReady` or `EngineFailed`."""

    model: RunningModel
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckEngine:
    """Ask a serving engine's health once. Answered by `EngineAnswered` or `EngineMissed`."""

    model: RunningModel
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopEngine:
    """Stop the engine and whatever is being done with it. Answered by `EngineExited`, always."""

    model_id: ModelId
    attempt: int
    grace_s: float
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSeats:
    """The model serves: let requests in."""

    model: RunningModel
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainSeats:
    """Let no new request in, refuse those that wait. Answered by `Drained` when none is left."""

    model_id: ModelId
    attempt: int
    refusal: Refusal
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseSeats:
    """The engine is gone: refuse those that wait; those at work will find their connection cut."""

    model_id: ModelId
    refusal: Refusal
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a provisioning command was taken."""

    response: ProvisioningResponse
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportStatus:
    """A model changed: tell the cortex now."""

    status: ModelStatus
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveConfigs:
    """Keep these configs, and no others, across a restart."""

    configs: tuple[ModelConfig, ...]
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmTimer:
    """Send `Tick` at this time, in seconds of the clock that `now` is of; forget earlier orders."""

    at: float
    cause: str = ""


EngineCommand = StartEngine | ProbeEngine | CheckEngine | StopEngine
SeatCommand = OpenSeats | DrainSeats | CloseSeats
Command = (
    EngineCommand
    | SeatCommand
    | FetchWeights
    | CancelFetch
    | LookAtWeights
    | Answer
    | ReportStatus
    | SaveConfigs
    | ArmTimer
)
