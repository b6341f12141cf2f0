"""What the registry knows of one model: state for the wire, phase for itself. Pure.

`state` is what the lifecycle table of the protocol knows and a cortex sees; `phase` is what the
shell is being waited for. Every change of `state` goes through `enter`, which obeys the table.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from helexa.neuron.registry.commands import Command, ReportStatus, RunningModel
from helexa.neuron.registry.events import FetchedWeights
from helexa.neuron.registry.failures import FailureHistory
from helexa.protocol.ids import ModelId
from helexa.protocol.lifecycle import ModelState, step
from helexa.protocol.model import ModelCapability, ModelConfig, ModelStatus

TEXT_CHARS_MAX = 1000


class Phase(StrEnum):
    """What is under way for a model's engine."""

    IDLE = "idle"
    FETCHING = "fetching"
    STARTING = "starting"
    PROBING = "probing"
    SERVING = "serving"
    DRAINING = "draining"
    STOPPING = "stopping"


# Which phases a state may be in; checked after every event by `check`.
PHASES = {
    ModelState.UNLOADED: frozenset({Phase.IDLE, Phase.STOPPING}),
    ModelState.LOADING: frozenset(
        {Phase.FETCHING, Phase.STARTING, Phase.PROBING, Phase.DRAINING, Phase.STOPPING}
    ),
    ModelState.LOADED: frozenset({Phase.SERVING}),
    ModelState.UNLOADING: frozenset({Phase.DRAINING, Phase.STOPPING}),
    ModelState.FAILED: frozenset({Phase.IDLE, Phase.STOPPING}),
}


@dataclass(slots=True)
class ModelRecord:
    """One model. Times are seconds of the clock that `now` is of."""

    config: ModelConfig
    """As last asked for."""
    about: ModelConfig
    """The one that `state` is about; differs from `config` until the model is loaded anew."""
    state: ModelState = ModelState.UNLOADED
    phase: Phase = Phase.IDLE
    wanted: bool = False
    """It was asked to run and not to stop: a crash is followed by a new start."""
    forgetting: bool = False
    cause: str = ""
    because: str = ""
    log_tail: tuple[str, ...] = ()
    progress: float | None = None
    fetch_attempt: int | None = None
    """Of the fetch in flight, for a load or for a reload of a model that still serves."""
    fetching: ModelConfig | None = None
    """The config whose weights are being fetched."""
    fetched: FetchedWeights | None = None
    """Weights for `about`, until they are used."""
    engine_attempt: int | None = None
    """Of the engine that runs or is being started or stopped."""
    serving: RunningModel | None = None
    """The engine that was spawned last; `running` says whether it may be sent requests."""
    capability: ModelCapability | None = None
    failures: FailureHistory = field(default_factory=FailureHistory)
    retry_at: float | None = None
    """No load of the same config before this time; a wanted model is loaded again then."""
    drain_until: float | None = None
    check_at: float | None = None
    checks_missed: int = 0
    stable_at: float | None = None

    @property
    def model_id(self) -> ModelId:
        """The id, which no config change can alter."""
        return self.config.id

    @property
    def running(self) -> RunningModel | None:
        """The engine that may be sent requests now."""
        return self.serving if self.state is ModelState.LOADED else None

    @property
    def stale(self) -> bool:
        """The config changed since the engine was started: a load will start it anew."""
        return self.config.digest() != self.about.digest()

    @property
    def held_bytes(self) -> int:
        """Memory that is in use by this model, or promised to it."""
        sizes = [0]
        if self.capability is not None and self.engine_attempt is not None:
            sizes.append(self.capability.memory_bytes or 0)
        if self.serving is not None:
            sizes.append(self.serving.capability.memory_bytes or 0)
        return max(sizes)

    @property
    def deadline(self) -> float | None:
        """When this model has something to do without being told; None for never."""
        times = [self.drain_until, self.check_at, self.stable_at]
        if self.state is ModelState.FAILED and self.phase is Phase.IDLE and self.wanted:
            times.append(self.retry_at)
        return min((at for at in times if at is not None), default=None)

    def enter(self, state: ModelState, phase: Phase, because: str = "") -> None:
        """Change state and phase; raises IllegalStepError where the lifecycle does not allow it."""
        self.state = step(self.state, state)
        self.phase = phase
        self.because = because[:TEXT_CHARS_MAX]
        self.progress = None

    def idle_timers(self) -> None:
        """Nothing serves or drains any more."""
        self.drain_until = None
        self.check_at = None
        self.stable_at = None
        self.checks_missed = 0

    def check(self) -> None:
        """Raise AssertionError where the record contradicts itself."""
        assert self.phase in PHASES[self.state], f"{self.state} cannot be {self.phase}"
        assert (self.phase is Phase.FETCHING) <= (self.fetch_attempt is not None)
        assert (self.fetching is None) == (self.fetch_attempt is None)
        busy = self.phase not in {Phase.IDLE, Phase.FETCHING}
        assert busy == (self.engine_attempt is not None), f"{self.phase} {self.engine_attempt}"
        if self.state is ModelState.LOADED:
            assert self.serving is not None

    def status(self, now: float, *, with_config: bool = False) -> ModelStatus:
        """Return what a cortex is told of this model."""
        waits = self.retry_at if self.state is ModelState.FAILED and self.wanted else None
        serving = self.running
        return ModelStatus(
            model_id=self.model_id,
            state=self.state,
            config_digest=self.about.digest(),
            because=self.because,
            progress=self.progress,
            capability=serving.capability if serving else self.capability,
            config=self.config if with_config else None,
            failures=self.failures.count,
            retry_after_s=None if waits is None else max(0.0, waits - now),
        )


@dataclass(slots=True)
class Turn:
    """One event being applied: its time, its cause, and the commands that follow from it."""

    now: float
    cause: str
    commands: list[Command] = field(default_factory=list)

    def add(self, command: Command) -> None:
        """Ask the shell for one more thing."""
        self.commands.append(command)

    def report(self, record: ModelRecord) -> None:
        """Tell the cortex how a model is now."""
        self.add(ReportStatus(status=record.status(self.now), cause=self.cause))
