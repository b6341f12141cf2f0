"""The shell around the registry: takes events one by one, does what the commands say.

One loop applies all events; everything that takes time is a task of its own and comes back as an
event. So a slow load of one model never delays a command for another.
"""

import asyncio
from collections import deque
from typing import Final

import msgspec

from helexa.neuron.registry.commands import (
    Answer,
    ArmTimer,
    CancelFetch,
    CheckEngine,
    CloseSeats,
    Command,
    DrainSeats,
    FetchWeights,
    LookAtWeights,
    OpenSeats,
    ProbeEngine,
    ReportStatus,
    RunningModel,
    SaveConfigs,
    StartEngine,
    StopEngine,
)
from helexa.neuron.registry.events import (
    AskedEvent,
    CloseAsked,
    Drained,
    EngineCondemned,
    Event,
    LoadAsked,
    Restored,
    Tick,
    UnloadAsked,
    UpsertAsked,
)
from helexa.neuron.registry.limits import Limits
from helexa.neuron.registry.policy import Policy
from helexa.neuron.registry.state import RegistryState
from helexa.neuron.runtime.status_log import StatusLog
from helexa.neuron.runtime.supervisor_launch import Launcher
from helexa.neuron.runtime.supervisor_ports import MemoryMeter, Outfit, World
from helexa.neuron.runtime.supervisor_work import EngineWork
from helexa.protocol.control import (
    LoadModel,
    ProvisioningCommand,
    ProvisioningResponse,
    UpsertModelConfig,
)
from helexa.protocol.errors import Refusal
from helexa.protocol.ids import CommandId, ModelId
from helexa.protocol.model import ModelConfig, ModelStatus
from helexa.protocol.neuron import NeuronHealth
from helexa.util import logging
from helexa.util.errors import describe
from helexa.util.tasks import TaskScope

EVENTS_MAX: Final = 1024
"""Commands of a cortex are refused while so many events wait; the neuron's own never are, and
there are only a few for each model."""
CLOSE_MARGIN_S: Final = 10.0
LOOP: Final = "supervisor loop"

_log = logging.get("supervisor")


class Supervisor:
    """Keeps the models of this neuron as they were asked to be (`NeuronControl`, `ModelAccess`)."""

    def __init__(self, policy: Policy, limits: Limits, outfit: Outfit, world: World) -> None:
        self._clock = world.clock
        self._state = RegistryState(policy, limits)
        self._limits = limits
        self._world = world
        self._seats = world.seats
        self._status_log = StatusLog()
        self._scope = TaskScope(self._failed)
        launcher = Launcher(policy.engines, outfit, world.spawner, world.free_ports)
        self._work = EngineWork(policy, outfit, world, launcher, self._scope, self._post)
        self._events: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._answers: dict[CommandId, list[asyncio.Future[ProvisioningResponse]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._unsaved: tuple[ModelConfig, ...] | None = None
        self._saver: asyncio.Task[None] | None = None
        self._save_problem = ""
        self._rested = asyncio.Event()
        self._closing = False

    async def start(self, restored: tuple[ModelConfig, ...] = ()) -> None:
        """Begin to work; `restored` configs are known again, none is loaded."""
        self._post(Restored(configs=restored))
        self._scope.start(self._run(), LOOP)

    async def close(self, drain_s: float = 0.0) -> None:
        """Stop all engines, after up to `drain_s` for running requests. Bounded, leaves none."""
        self._closing = True
        self._post(CloseAsked(drain_s=drain_s))
        limit_s = drain_s + self._limits.stop_grace_s + CLOSE_MARGIN_S
        try:
            async with asyncio.timeout(limit_s):
                await self._rested.wait()
        except TimeoutError:
            _log.error("engines did not stop in time and are killed", limit_s=limit_s)
        await self._work.close()
        if self._saver is not None:
            await asyncio.wait({self._saver})
        if self._timer is not None:
            self._timer.cancel()
        self._refuse_all("the neuron is shutting down")
        await self._scope.close()

    # ── for the control plane (protocol.ports.NeuronControl) ──────────────────────────────────

    async def provision(
        self, command_id: CommandId, command: ProvisioningCommand, cause: str
    ) -> ProvisioningResponse:
        """Apply a command; the answer says that it was begun, or why not. A "no" is no error."""
        event = _asked(command_id, command, cause)
        model_id = event.config.id if isinstance(event, UpsertAsked) else event.model_id
        if self._closing or len(self._events) >= EVENTS_MAX:
            because = "the neuron is shutting down" if self._closing else "too many commands wait"
            return ProvisioningResponse(
                command_id=command_id, model_id=model_id, accepted=False, because=because
            )
        answer: asyncio.Future[ProvisioningResponse] = asyncio.get_running_loop().create_future()
        self._answers.setdefault(command_id, []).append(answer)
        self._post(event)
        return await answer

    def statuses(self, *, with_config: bool = False) -> tuple[ModelStatus, ...]:
        """Return the status of every known model."""
        found = self._state.statuses(self._clock.monotonic(), with_config=with_config)
        return tuple(self._with_load(status) for status in found)

    def health(self) -> NeuronHealth:
        """Return how the neuron is doing."""
        found = self._state.read_health(self._clock.monotonic())
        if not self._save_problem:
            return found
        return msgspec.structs.replace(found, problems=(*found.problems, self._save_problem))

    def log_tail(self, model_id: str) -> tuple[str, ...]:
        """Return the last lines of the model's engine: the running one's, else the failed one's."""
        running = self._state.running(model_id)
        if running is not None:
            return self._work.log_tail(running.attempt)
        return self._state.log_tail(model_id)

    def engines(self) -> list[tuple[RunningModel, MemoryMeter | None]]:
        """Return every engine that serves, and what measures its memory where it runs here."""
        found = (self._state.running(status.model_id) for status in self.statuses())
        return [
            (model, self._work.memory_meter(model.attempt)) for model in found if model is not None
        ]

    # ── for the executor (runtime.ports.ModelAccess) ──────────────────────────────────────────

    def running(self, model_id: str) -> RunningModel | None:
        """Return the engine that may be sent this model's requests; None where there is none."""
        return self._state.running(model_id)

    def refusal(self, model_id: str) -> Refusal:
        """Say why `running` has none."""
        return self._state.refusal(model_id)

    def condemn(self, model: RunningModel, because: str) -> None:
        """This engine process does not go on: kill it and start it anew. Once is enough."""
        self._post(EngineCondemned(model_id=model.model_id, attempt=model.attempt, because=because))

    def request_ended(
        self,
        model_id: str,
        latency_ms: float | None,
        tokens_per_second: float | None,
        *,
        failed: bool,
    ) -> None:
        """A request ended: time to its first token, its pace, and whether the engine failed it."""
        now = self._clock.monotonic()
        self._state.health.request_ended(
            now, latency_ms, failed=failed, model_id=model_id, tokens_per_second=tokens_per_second
        )

    # ── the loop ──────────────────────────────────────────────────────────────────────────────

    def _post(self, event: Event) -> None:
        self._events.append(event)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._events:
                event = self._events.popleft()
                for command in self._state.apply(event, self._clock.monotonic()):
                    self._do(command)
                if self._closing and self._state.at_rest:
                    self._rested.set()
            await asyncio.sleep(0)

    def _do(self, command: Command) -> None:
        if isinstance(command, ReportStatus):
            self._report(command)
        elif isinstance(command, Answer):
            self._answer(command)
        elif isinstance(command, OpenSeats | DrainSeats | CloseSeats):
            self._do_seats(command)
        elif isinstance(command, SaveConfigs):
            self._save(command.configs)
        elif isinstance(command, ArmTimer):
            self._arm(command.at)
        else:
            self._do_work(command)

    def _do_work(
        self,
        command: FetchWeights
        | CancelFetch
        | LookAtWeights
        | StartEngine
        | ProbeEngine
        | CheckEngine
        | StopEngine,
    ) -> None:
        if isinstance(command, FetchWeights):
            self._work.fetch(command)
        elif isinstance(command, LookAtWeights):
            self._work.look(command)
        elif isinstance(command, CancelFetch):
            self._work.cancel_fetch(command.attempt)
        elif isinstance(command, StartEngine):
            self._work.start(command)
        elif isinstance(command, ProbeEngine):
            self._work.probe(command)
        elif isinstance(command, CheckEngine):
            self._work.check(command)
        else:
            self._work.stop(command)

    def _do_seats(self, command: OpenSeats | DrainSeats | CloseSeats) -> None:
        if isinstance(command, OpenSeats):
            self._seats.open(command.model.model_id, command.model.capability.seats)
        elif isinstance(command, CloseSeats):
            self._seats.close(command.model_id, command.refusal)
        else:
            event = Drained(model_id=command.model_id, attempt=command.attempt, cause=command.cause)
            self._seats.drain(command.model_id, command.refusal, lambda: self._post(event))

    def _report(self, command: ReportStatus) -> None:
        status = self._with_load(command.status)
        if self._status_log.allows(status, self._clock.monotonic()):
            done = {} if status.progress is None else {"progress": round(status.progress, 2)}
            _log.info(
                "model",
                model_id=status.model_id,
                state=status.state.value,
                because=status.because,
                cause=command.cause,
                **done,
            )
        self._world.on_status(status)

    def _answer(self, command: Answer) -> None:
        response = command.response
        if not response.accepted:
            # R8: a refusal is an event, with the number of the rule.
            _log.warning(
                "command refused",
                command_id=response.command_id,
                model_id=response.model_id,
                rule=response.rule,
                because=response.because,
                cause=command.cause,
            )
        for answer in self._answers.pop(response.command_id, ()):
            if not answer.done():
                answer.set_result(response)

    def _with_load(self, status: ModelStatus) -> ModelStatus:
        active, waiting = self._seats.load(status.model_id)
        return msgspec.structs.replace(status, active_requests=active, waiting_requests=waiting)

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait_s = max(0.0, at - self._clock.monotonic())
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(wait_s, lambda: self._post(Tick()))

    # ── keeping configs ───────────────────────────────────────────────────────────────────────

    def _save(self, configs: tuple[ModelConfig, ...]) -> None:
        self._unsaved = configs
        if self._saver is None or self._saver.done():
            self._saver = self._scope.start(self._save_all(), "save configs")

    async def _save_all(self) -> None:
        while self._unsaved is not None:
            configs, self._unsaved = self._unsaved, None
            try:
                await asyncio.to_thread(self._world.save_configs, configs)
                self._save_problem = ""
            except OSError as error:
                self._save_problem = f"model configs are not saved: {describe(error)}"
                _log.error("model configs are not saved", error=describe(error))

    # ── when something is wrong with the supervisor itself ────────────────────────────────────

    def _failed(self, name: str, error: BaseException) -> None:
        _log.error("supervisor task failed", task=name, error=describe(error))
        if name != LOOP:
            return
        self._refuse_all("the neuron's supervisor failed")
        self._rested.set()
        self._world.on_broken(error)

    def _refuse_all(self, because: str) -> None:
        for command_id, answers in self._answers.items():
            refused = ProvisioningResponse(
                command_id=command_id, model_id=ModelId(""), accepted=False, because=because
            )
            for answer in answers:
                if not answer.done():
                    answer.set_result(refused)
        self._answers.clear()


def _asked(command_id: CommandId, command: ProvisioningCommand, cause: str) -> AskedEvent:
    if isinstance(command, UpsertModelConfig):
        return UpsertAsked(command_id=command_id, config=command.config, cause=cause)
    if isinstance(command, LoadModel):
        return LoadAsked(command_id=command_id, model_id=command.model_id, cause=cause)
    return UnloadAsked(
        command_id=command_id,
        model_id=command.model_id,
        forget=command.forget,
        drain_s=command.drain_s,
        cause=cause,
    )
