"""A neuron as a pure model: commands and time in, messages out. It never sleeps and never spawns.

It is the same neuron for core tests, the simulated world and the in-process carrier: it keeps
configs, loads take time, memory is bounded, and what it says is always true.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from helexa.protocol.control import (
    Heartbeat,
    LoadModel,
    ModelReport,
    NeuronMessage,
    Provisioning,
    ProvisioningResponse,
    Register,
    UnloadModel,
    UpsertModelConfig,
)
from helexa.protocol.ids import CommandId, ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState, step
from helexa.protocol.model import ModelCapability, ModelConfig, ModelStatus
from helexa.protocol.neuron import NeuronDescriptor, NeuronHealth, NeuronLoad
from tests.fakes.fleet import CHAT, GIB, capabilities


@dataclass
class Held:
    config: ModelConfig
    state: ModelState = ModelState.UNLOADED
    ready_at: float = 0.0
    running: str = ""
    failures: int = 0
    because: str = ""


@dataclass
class ModelNeuron:
    """`needs(model_id)` is a model's memory in bytes; `load_s` how long a load takes."""

    id: str
    epoch: int = 1
    budget_bytes: int = 8 * GIB
    engines: tuple[str, ...] = ("echo",)
    load_s: float = 2.0
    needs: Callable[[ModelId], int] = lambda _model_id: GIB
    models: dict[ModelId, Held] = field(default_factory=dict)
    out: list[NeuronMessage] = field(default_factory=list)
    loads_started: list[ModelId] = field(default_factory=list)
    done: dict[CommandId, ProvisioningResponse] = field(default_factory=dict)
    sequence: int = 0
    memory_peak_bytes: int = 0

    def register(self) -> Register:
        return Register(
            version_min=1,
            version_max=1,
            neuron=NeuronDescriptor(id=NeuronId(self.id), epoch=self.epoch),
            capabilities=capabilities(self.budget_bytes, self.engines),
            models=self.statuses(with_config=True),
        )

    def heartbeat(self) -> Heartbeat:
        self.sequence += 1
        return Heartbeat(
            sequence=self.sequence,
            health=NeuronHealth(),
            load=NeuronLoad(),
            models=self.statuses(with_config=False),
        )

    def statuses(self, *, with_config: bool) -> tuple[ModelStatus, ...]:
        return tuple(self._status(key, with_config=with_config) for key in self.models)

    def memory_bytes(self) -> int:
        busy = {ModelState.LOADING, ModelState.LOADED, ModelState.UNLOADING}
        return sum(self.needs(key) for key, held in self.models.items() if held.state in busy)

    def receive(self, message: Provisioning, now: float) -> None:
        known = self.done.get(message.command_id)
        if known is None:
            known = self._obey(message.command_id, message.command, now)
            self.done[message.command_id] = known
        self.out.append(known)

    def pass_time(self, now: float) -> None:
        for model_id, held in self.models.items():
            if held.state is ModelState.LOADING and now >= held.ready_at:
                self._go(model_id, held, ModelState.LOADED)

    def crash_model(self, model_id: ModelId) -> None:
        held = self.models[model_id]
        held.failures += 1
        held.because = "the engine exited with status 1"
        self._go(model_id, held, ModelState.FAILED)

    def restart(self) -> None:
        """A new process: configs are kept, nothing runs."""
        self.epoch += 1
        self.out.clear()
        self.done.clear()
        for held in self.models.values():
            held.state, held.running, held.failures = ModelState.UNLOADED, "", 0

    def take(self) -> list[NeuronMessage]:
        out, self.out = self.out, []
        return out

    def _obey(
        self,
        command_id: CommandId,
        command: UpsertModelConfig | LoadModel | UnloadModel,
        now: float,
    ) -> ProvisioningResponse:
        if isinstance(command, UpsertModelConfig):
            config = command.config
            because = "" if config.engine in self.engines else f"engine {config.engine} not allowed"
            if not because:
                self.models.setdefault(config.id, Held(config)).config = config
                self._report(config.id)
            return self._answer(command_id, config.id, because)
        held = self.models.get(command.model_id)
        if held is None:
            because = "" if isinstance(command, UnloadModel) else "no config for this model"
            return self._answer(command_id, command.model_id, because)
        if isinstance(command, UnloadModel):
            if held.state is not ModelState.UNLOADED:
                if held.state is not ModelState.FAILED:
                    self._go(command.model_id, held, ModelState.UNLOADING)
                self._go(command.model_id, held, ModelState.UNLOADED)
            if command.forget:
                del self.models[command.model_id]
            return self._answer(command_id, command.model_id, "")
        return self._answer(command_id, command.model_id, self._load(command.model_id, held, now))

    def _load(self, model_id: ModelId, held: Held, now: float) -> str:
        if held.state in {ModelState.LOADING, ModelState.LOADED}:
            return ""
        if self.memory_bytes() + self.needs(model_id) > self.budget_bytes:
            return "not enough memory"
        self.loads_started.append(model_id)
        held.ready_at, held.running = now + self.load_s, held.config.digest()
        self._go(model_id, held, ModelState.LOADING)
        self.memory_peak_bytes = max(self.memory_peak_bytes, self.memory_bytes())
        return ""

    def _answer(
        self, command_id: CommandId, model_id: ModelId, because: str
    ) -> ProvisioningResponse:
        return ProvisioningResponse(
            command_id=command_id, model_id=model_id, accepted=not because, because=because
        )

    def _go(self, model_id: ModelId, held: Held, state: ModelState) -> None:
        held.state = step(held.state, state)
        self._report(model_id)

    def _report(self, model_id: ModelId) -> None:
        self.out.append(ModelReport(status=self._status(model_id, with_config=False)))

    def _status(self, model_id: ModelId, *, with_config: bool) -> ModelStatus:
        held = self.models[model_id]
        capability: ModelCapability = CHAT
        return ModelStatus(
            model_id=model_id,
            state=held.state,
            config_digest=held.running or held.config.digest(),
            because=held.because if held.state is ModelState.FAILED else "",
            capability=ModelCapability(
                workloads=capability.workloads,
                context_tokens=capability.context_tokens,
                seats=capability.seats,
                memory_bytes=self.needs(model_id),
            ),
            config=held.config if with_config else None,
            failures=held.failures,
        )
