"""Everything that can happen to the models of a neuron. Values only.

`attempt` names one fetch or one engine process: an event of an attempt that is over is ignored,
so a late answer can never change what came after it. `cause` is the trace id of whoever asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from helexa.model_runtime.interfaces import WeightsSummary
from helexa.protocol.ids import CommandId, ModelId
from helexa.protocol.model import ModelConfig


@dataclass(frozen=True, slots=True)
class FetchedWeights:
    """Weights that lie on this machine: a real path and what their header says.

    Both are None for an engine that needs no weights.
    """

    path: str | None = None
    summary: WeightsSummary | None = None


NO_WEIGHTS = FetchedWeights()


# ── asked for by a cortex (or by the neuron itself) ───────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The configs that outlived a restart. They are known again; nothing is started."""

    configs: tuple[ModelConfig, ...]
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertAsked:
    """Remember this config."""

    command_id: CommandId
    config: ModelConfig
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadAsked:
    """Run the model, or run it anew where its config changed."""

    command_id: CommandId
    model_id: ModelId
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadAsked:
    """Stop the model after its requests; `forget` drops its config too.

    `drain_s` is how long they may take; None is the limit that the neuron has set.
    """

    command_id: CommandId
    model_id: ModelId
    forget: bool = False
    drain_s: float | None = None
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseAsked:
    """The neuron is leaving: stop every model within `drain_s` seconds and load none any more."""

    drain_s: float = 0.0
    cause: str = ""


# ── told by the shell about weights ───────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsProgress:
    """A download goes on: `ratio` is 0.0 to 1.0 where the size is known."""

    model_id: ModelId
    attempt: int
    ratio: float | None
    text: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsReady:
    """The weights are on this machine and checked."""

    model_id: ModelId
    attempt: int
    weights: FetchedWeights
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFailed:
    """The weights could not be had; `retryable` when trying later may help (a late network)."""

    model_id: ModelId
    attempt: int
    because: str
    retryable: bool
    cause: str = ""


# ── told by the shell about an engine ─────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpawned:
    """The process runs (or the endpoint of an attached server is known). It may not serve yet."""

    model_id: ModelId
    attempt: int
    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    pid: int | None = None
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReady:
    """Health and a one-token canary both passed. `memory_bytes` is measured, where it can be."""

    model_id: ModelId
    attempt: int
    memory_bytes: int | None = None
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFailed:
    """The engine could not be started or did not pass its probe. It may still be running.

    `permanent`: the same config will fail the same way (a bad option, no usable binary).
    """

    model_id: ModelId
    attempt: int
    because: str
    log_tail: tuple[str, ...] = ()
    permanent: bool = False
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineExited:
    """The process is gone and reaped, asked for or not."""

    model_id: ModelId
    attempt: int
    because: str
    log_tail: tuple[str, ...] = ()
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineAnswered:
    """A serving engine passed its periodic check."""

    model_id: ModelId
    attempt: int
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineMissed:
    """A serving engine failed one periodic check; several in a row condemn it."""

    model_id: ModelId
    attempt: int
    because: str
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCondemned:
    """Whoever used the engine found it unable to go on (it stalled): kill it and start anew."""

    model_id: ModelId
    attempt: int
    because: str
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """The last request of a model that is being stopped has ended."""

    model_id: ModelId
    attempt: int
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time has passed; sent when the time of the last `ArmTimer` has come."""

    cause: str = ""


AskedEvent = UpsertAsked | LoadAsked | UnloadAsked


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsSeen:
    """The weights of a model that is not loaded are here; what their header says."""

    model_id: ModelId
    source: str
    summary: WeightsSummary | None
    cause: str = ""


WeightsEvent = WeightsProgress | WeightsReady | WeightsFailed | WeightsSeen
EngineEvent = (
    EngineSpawned
    | EngineReady
    | EngineFailed
    | EngineExited
    | EngineAnswered
    | EngineMissed
    | EngineCondemned
    | Drained
)
Event = AskedEvent | WeightsEvent | EngineEvent | Restored | CloseAsked | Tick
