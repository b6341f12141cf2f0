"""A registry under test as a script: these events in, these commands out."""

from dataclasses import dataclass, field

from helexa.neuron.registry import commands as c
from helexa.neuron.registry import events as e
from helexa.neuron.registry.limits import Limits
from helexa.neuron.registry.policy import Policy
from helexa.neuron.registry.state import RegistryState
from helexa.protocol.ids import CommandId, ModelId
from helexa.protocol.model import ModelConfig, ModelStatus, OptionValue
from tests.fakes.engines import GIB, AttachedEngine, TinyEngine

M = ModelId("m")
SOURCE = "models/m.gguf"


def config(model_id: str = "m", *, source: str | None = SOURCE, **options: OptionValue):
    return ModelConfig(id=ModelId(model_id), engine="tiny", source=source, options=options)


@dataclass
class Script:
    """Drives a registry. `now` only moves when the test says so."""

    limits: Limits = field(default_factory=lambda: Limits(memory_budget_bytes=22 * GIB))
    now: float = 1000.0

    def __post_init__(self) -> None:
        tiny, attached = TinyEngine(), AttachedEngine()
        policy = Policy({"tiny": tiny, "attached": attached}, ("/srv/models",))
        self.state = RegistryState(policy, self.limits)
        self.numbers = 0
        self.all: list[c.Command] = []

    def send(self, event: e.Event) -> list[c.Command]:
        found = self.state.apply(event, self.now)
        self.all += found
        return found

    def _id(self) -> CommandId:
        self.numbers += 1
        return CommandId(f"c{self.numbers}")

    def upsert(self, wanted: ModelConfig | None = None) -> list[c.Command]:
        return self.send(e.UpsertAsked(command_id=self._id(), config=wanted or config()))

    def load(self, model_id: str = "m") -> list[c.Command]:
        return self.send(e.LoadAsked(command_id=self._id(), model_id=ModelId(model_id)))

    def unload(
        self, model_id: str = "m", *, forget: bool = False, drain_s: float | None = None
    ) -> list[c.Command]:
        return self.send(
            e.UnloadAsked(
                command_id=self._id(), model_id=ModelId(model_id), forget=forget, drain_s=drain_s
            )
        )

    def tick(self, seconds: float) -> list[c.Command]:
        self.now += seconds
        return self.send(e.Tick())

    # ── what the shell would tell ─────────────────────────────────────────────────────────────

    def fetched(self, found: list[c.Command]) -> list[c.Command]:
        order = only(found, c.FetchWeights)
        weights = e.FetchedWeights("/srv/models/m.gguf", None)
        return self.send(
            e.WeightsReady(model_id=order.model_id, attempt=order.attempt, weights=weights)
        )

    def spawned(self, found: list[c.Command]) -> list[c.Command]:
        order = only(found, c.StartEngine)
        return self.send(
            e.EngineSpawned(
                model_id=order.model_id, attempt=order.attempt, endpoint="http://127.0.0.1:9"
            )
        )

    def ready(self, found: list[c.Command], memory_bytes: int | None = None) -> list[c.Command]:
        model = only(found, c.ProbeEngine).model
        return self.send(
            e.EngineReady(model_id=model.model_id, attempt=model.attempt, memory_bytes=memory_bytes)
        )

    def exited(self, attempt: int, because: str = "exited with status 1", model_id: ModelId = M):
        return self.send(
            e.EngineExited(
                model_id=model_id, attempt=attempt, because=because, log_tail=("last words",)
            )
        )

    def bring_up(self, wanted: ModelConfig | None = None) -> int:
        """Load a model to the end; return the attempt of its engine."""
        self.upsert(wanted)
        return self.go_on(self.load(wanted.id if wanted else "m"))

    def go_on(self, found: list[c.Command]) -> int:
        """From a fetch (or a start) to a serving engine."""
        if any(isinstance(command, c.FetchWeights) for command in found):
            found = self.fetched(found)
        probe = self.spawned(found)
        model = only(probe, c.ProbeEngine).model
        self.ready(probe)
        return model.attempt

    # ── what came of it ───────────────────────────────────────────────────────────────────────

    def status(self, model_id: str = "m") -> ModelStatus:
        return next(s for s in self.state.statuses(self.now) if s.model_id == model_id)


def only(found: list[c.Command], kind):
    """The one command of a kind."""
    matching = [command for command in found if isinstance(command, kind)]
    assert len(matching) == 1, f"{kind.__name__}: {[type(x).__name__ for x in found]}"
    return matching[0]


def none_of(found: list[c.Command], *kinds) -> bool:
    return not any(isinstance(command, kinds) for command in found)


def answer(found: list[c.Command]):
    return only(found, c.Answer).response
