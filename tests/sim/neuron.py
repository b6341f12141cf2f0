"""A neuron of the simulated world: the real registry and seats, and a make-believe shell.

The shell does what the registry's commands say, after simulated times. Its clock is its own: it
runs from another zero and a little faster or slower than the world's.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from helexa.neuron.registry import commands as c
from helexa.neuron.registry import events as e
from helexa.neuron.registry.admission import Admission, Admitted, Queued
from helexa.neuron.registry.limits import Limits
from helexa.neuron.registry.policy import Policy
from helexa.neuron.registry.state import RegistryState
from helexa.protocol.control import (
    CapabilitiesReport,
    Heartbeat,
    LoadModel,
    ModelReport,
    NeuronMessage,
    Provisioning,
    Register,
    Shutdown,
    UpsertModelConfig,
)
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.model import ModelCapability, ModelConfig, ModelStatus
from helexa.protocol.neuron import Capabilities, NeuronDescriptor, NeuronLoad
from helexa.protocol.workload import Workload
from tests.fakes.engines import GIB, TinyEngine
from tests.fakes.fleet import capabilities
from tests.sim.job import Job

if TYPE_CHECKING:
    from helexa.model_runtime.interfaces import WeightsSummary
    from tests.sim.link import Link, Wire
    from tests.sim.world import SimWorld

BEAT_S: Final = 5.0
SILENCE_S: Final = 15.0
FETCH_S: Final = 0.2
LIMITS: Final = Limits(memory_budget_bytes=0, check_interval_s=60.0, drain_s=10.0)


class SimEngine(TinyEngine):
    """`memory_gib` and `seats` are what it says; `kind` "embed" makes vectors, not chats."""

    def problems(self, config: ModelConfig) -> list[str]:
        return []

    def capability(self, config: ModelConfig, weights: "WeightsSummary | None") -> ModelCapability:
        embeds = config.options.get("kind") == "embed"
        workload = Workload.EMBEDDINGS if embeds else Workload.CHAT
        return ModelCapability(
            workloads=(workload,),
            seats=int(config.options["seats"]),
            memory_bytes=int(float(config.options["memory_gib"]) * GIB),
            context_tokens=4096,
        )


ENGINES: Final = {"sim": SimEngine(), "rare": SimEngine()}


class SimNeuron:
    """One machine with one neuron process on it; `wire` is its way to cortex."""

    def __init__(
        self,
        world: "SimWorld",
        name: str,
        wire: "Wire",
        *,
        budget_bytes: int,
        engines: tuple[str, ...],
        clock_zero_s: float,
        clock_rate: float,
    ) -> None:
        self.id = NeuronId(name)
        self.world = world
        self.wire = wire
        self.budget_whole_bytes = budget_bytes
        self.budget_bytes = budget_bytes
        self.engines = engines
        self.epoch = 0
        self.link: Link | None = None
        self.fail_loads_until = self.slow_loads_until = 0.0
        self.load_s = 3.0
        self.up = False
        self.lives = 0
        self.engine_bytes: dict[int, int] = {}
        """Memory of every engine process that exists, by its attempt."""
        self.loads_begun: list[tuple[float, ModelId]] = []
        self.seats: dict[ModelId, Admission] = {}
        self.jobs: dict[str, Job] = {}
        self._zero_s, self._rate = clock_zero_s, clock_rate
        self._disk: tuple[ModelConfig, ...] = ()
        self._events: list[e.Event] = []
        self._feeding = False
        self._drains: dict[ModelId, int] = {}
        self._beats = 0
        self._generation = 1
        self._timer = 0
        self._told: tuple[ModelStatus, ...] | None = None
        self.failed_s: dict[ModelId, float] = {}
        """When an engine last failed, of models that were not stopped since."""

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """A new process: configs come from the disk, nothing runs."""
        self.up = True
        self.lives += 1
        # By the wall clock, which is set back on some machines.
        self.epoch = max(1, int((self.world.clock.now + self._zero_s) * 1000))
        limits = replace(LIMITS, memory_budget_bytes=self.budget_bytes)
        policy = Policy({name: ENGINES[name] for name in self.engines}, ("/srv",))
        self.state = RegistryState(policy, limits)
        self.feed(e.Restored(configs=self._disk))
        self._connect()
        self._later(BEAT_S * (0.2 + self.world.clock.random.random()), self._beat)

    def die(self) -> None:
        """The process is killed, its engines with it (they are guarded)."""
        if not self.up:
            return
        self.up = False
        self.lives += 1
        self.engine_bytes.clear()
        self.seats.clear()
        self.jobs.clear()
        self._drains.clear()
        self._told = None
        self.failed_s.clear()
        link, self.link = self.link, None
        if link is not None:
            link.close_below("the process died")

    def leave(self) -> None:
        """It is stopped by its operator: goodbye first, then all engines end."""
        if self.up:
            self._say(Shutdown(reason="stopped"))
            self.feed(e.CloseAsked(drain_s=2.0))
            self._later(3.0, self.die)

    def local_s(self) -> float:
        """What the neuron's own clock says."""
        return self._zero_s + self.world.clock.now * self._rate

    def _later(self, seconds: float, action: Callable[..., None], *arguments: Any) -> None:
        """Have this very process do something, if it still lives then."""
        self.world.clock.after(seconds, self._if_alive, self.lives, action, arguments)

    def _if_alive(self, life: int, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if life == self.lives and self.up:
            action(*arguments)

    # ── connection ────────────────────────────────────────────────────────────────────────────

    def _connect(self) -> None:
        if self.link is not None:
            return
        link = self.world.dial(self)
        if link is None:
            self._later(1.0 + self.world.clock.random.random(), self._connect)
            return
        self.link = link
        link.up(self.world.cortex.arrived, link, self.register(), control=False)

    def link_ended(self, link: "Link") -> None:
        """The socket closed: who is being served is gone, and it dials again."""
        if self.link is link:
            self.link = None
            for job in list(self.jobs.values()):
                if job.link is link:
                    self.end_job(job)
            self._later(0.5 + self.world.clock.random.random(), self._connect)

    def _say(self, message: NeuronMessage) -> None:
        if self.link is not None:
            self.link.up(self.world.cortex.arrived, self.link, message)

    def register(self) -> Register:
        """Return the first message of a connection."""
        return Register(
            version_min=1,
            version_max=1,
            neuron=NeuronDescriptor(id=self.id, epoch=self.epoch),
            capabilities=self.capabilities(),
            models=self.state.statuses(self.local_s(), with_config=True),
        )

    def capabilities(self) -> Capabilities:
        """Return what it may run now."""
        able = capabilities(self.budget_bytes, self.engines)
        return msgspec.structs.replace(able, generation=self._generation)

    def statuses(self) -> tuple[ModelStatus, ...]:
        """Return the models as a heartbeat tells them; the same tuple while nothing changes."""
        if self._told is None:
            self._told = tuple(
                msgspec.structs.replace(
                    status,
                    active_requests=seats.active if seats else 0,
                    waiting_requests=seats.waiting if seats else 0,
                )
                for status in self.state.statuses(self.local_s())
                for seats in (self.seats.get(status.model_id),)
            )
        return self._told

    def _beat(self) -> None:
        self._later(BEAT_S, self._beat)
        link = self.link
        if link is None or not link.registered:
            return
        now = self.world.clock.now
        if link.cortex_open and not link.is_blocked():
            link.heard_below_s = now  # cortex pings as often as this
        elif now - link.heard_below_s > SILENCE_S:
            link.close_below("nothing came")
            return
        self._beats += 1
        active = sum(a.active for a in self.seats.values())
        self._say(
            Heartbeat(
                sequence=self._beats,
                health=self.state.read_health(self.local_s()),
                load=NeuronLoad(active_requests=active),
                models=self.statuses(),
                capabilities_generation=self._generation,
            )
        )

    def set_budget(self, budget_bytes: int) -> None:
        """Another process takes memory, or gives it back."""
        self.budget_bytes = budget_bytes
        if self.up:
            self.state.limits = replace(self.state.limits, memory_budget_bytes=budget_bytes)
            self._generation += 1
            self.tell_capabilities()

    def tell_capabilities(self) -> None:
        """Say what it may run now, because it changed or because cortex asks."""
        self._say(CapabilitiesReport(capabilities=self.capabilities(), models=self.statuses()))

    # ── commands of cortex, and of the registry ───────────────────────────────────────────────

    def provision(self, message: Provisioning) -> None:
        """Take a provisioning command."""
        command_id, command = message.command_id, message.command
        if isinstance(command, UpsertModelConfig):
            self.feed(e.UpsertAsked(command_id=command_id, config=command.config))
        elif isinstance(command, LoadModel):
            self.feed(e.LoadAsked(command_id=command_id, model_id=command.model_id))
        else:
            self.failed_s.pop(command.model_id, None)
            self.feed(
                e.UnloadAsked(
                    command_id=command_id, model_id=command.model_id, forget=command.forget
                )
            )

    def feed(self, event: e.Event) -> None:
        """Apply one event, and those that follow from it at once."""
        self._events.append(event)
        if self._feeding:
            return
        self._feeding = True
        self._told = None
        while self._events:
            for command in self.state.apply(self._events.pop(0), self.local_s()):
                _DO[type(command)](self, command)
        self._feeding = False

    def _fetch(self, command: c.FetchWeights) -> None:
        ready = e.WeightsReady(
            model_id=command.model_id, attempt=command.attempt, weights=e.NO_WEIGHTS
        )
        self._later(FETCH_S, self.feed, ready)

    def _start_engine(self, command: c.StartEngine) -> None:
        self.world.watch.engine_starts(self, command.model_id)
        need = command.capability.memory_bytes or 0
        self.engine_bytes[command.attempt] = need
        self.loads_begun.append((self.world.clock.now, command.model_id))
        self.world.watch.engine_started(self)
        spawned = e.EngineSpawned(
            model_id=command.model_id, attempt=command.attempt, endpoint="http://127.0.0.1:1"
        )
        self._later(0.05, self._feed_of, command.attempt, spawned)

    def _probe(self, command: c.ProbeEngine) -> None:
        model, now = command.model, self.world.clock.now
        load_s = self.load_s * (10 if now < self.slow_loads_until else 1)
        if now < self.fail_loads_until:
            failed = e.EngineFailed(
                model_id=model.model_id, attempt=model.attempt, because="made to fail"
            )
            self._later(load_s / 2, self._feed_of, model.attempt, failed)
            return
        ready = e.EngineReady(
            model_id=model.model_id,
            attempt=model.attempt,
            memory_bytes=self.engine_bytes[model.attempt],
        )
        self._later(load_s, self._feed_of, model.attempt, ready)

    def _check(self, command: c.CheckEngine) -> None:
        model = command.model
        self.feed(e.EngineAnswered(model_id=model.model_id, attempt=model.attempt))

    def _stop_engine(self, command: c.StopEngine) -> None:
        exited = e.EngineExited(
            model_id=command.model_id, attempt=command.attempt, because="it was stopped"
        )
        self._later(0.3, self._exit, exited)

    def _exit(self, exited: e.EngineExited) -> None:
        if self.engine_bytes.pop(exited.attempt, None) is not None:
            self.feed(exited)

    def _feed_of(self, attempt: int, event: e.Event) -> None:
        """Tell news of an engine, if it is still there."""
        if attempt in self.engine_bytes:
            if isinstance(event, e.EngineFailed):
                self.failed_s[event.model_id] = self.world.clock.now
            self.feed(event)

    def crash_engine(self, pick: int) -> None:
        """An engine that serves ends by itself."""
        running = [m for m in (self.state.running(k) for k in sorted(self.seats)) if m]
        if running:
            model = running[pick % len(running)]
            for job in [j for j in self.jobs.values() if j.model_id == model.model_id]:
                job.crashed()
            exited = e.EngineExited(
                model_id=model.model_id, attempt=model.attempt, because="it crashed"
            )
            self.failed_s[model.model_id] = self.world.clock.now
            self._exit(exited)

    def _report(self, command: c.ReportStatus) -> None:
        self._told = None
        self._say(ModelReport(status=command.status))

    def _answer(self, command: c.Answer) -> None:
        self._say(command.response)

    def _save(self, command: c.SaveConfigs) -> None:
        self._disk = command.configs

    def _arm(self, command: c.ArmTimer) -> None:
        self._timer += 1
        wait_s = (command.at - self.local_s()) / self._rate
        self._later(max(wait_s, 0.0) + 1e-3, self._tick, self._timer)

    def _tick(self, timer: int) -> None:
        if timer == self._timer:
            self.feed(e.Tick())

    # ── seats and requests ────────────────────────────────────────────────────────────────────

    def _open_seats(self, command: c.OpenSeats) -> None:
        self.seats[command.model.model_id] = Admission(command.model.capability.seats)

    def _drain_seats(self, command: c.DrainSeats) -> None:
        self._refuse_waiting(command.model_id, command.refusal)
        self._drains[command.model_id] = command.attempt
        self._note_drained(command.model_id)

    def _close_seats(self, command: c.CloseSeats) -> None:
        self._refuse_waiting(command.model_id, command.refusal)
        self.seats.pop(command.model_id, None)
        self._drains.pop(command.model_id, None)
        for job in [j for j in self.jobs.values() if j.model_id == command.model_id]:
            job.crashed()

    def _refuse_waiting(self, model_id: ModelId, refusal: Refusal) -> None:
        admission = self.seats.get(model_id)
        for verdict in admission.close(refusal) if admission is not None else ():
            self.jobs[verdict.ticket].refused(refusal)

    def _note_drained(self, model_id: ModelId) -> None:
        admission = self.seats.get(model_id)
        if model_id in self._drains and (admission is None or not admission.active):
            self.feed(e.Drained(model_id=model_id, attempt=self._drains.pop(model_id)))

    def take_job(self, job: Job) -> None:
        """A request came down the tunnel: let it in, or refuse it."""
        self.jobs[job.ticket] = job
        admission = self.seats.get(job.model_id)
        if admission is None or self.state.running(job.model_id) is None:
            job.refused(self.state.refusal(job.model_id))
            return
        if job.is_chat != (job.model_id in self.world.chat_models):
            job.refused(Refusal(ErrorCode.NOT_SUPPORTED, "not this model"), elsewhere=False)
            return
        verdict = admission.ask(job.ticket, self.local_s())
        self._told = None
        self.world.watch.seats_used(self, admission)
        if isinstance(verdict, Admitted):
            job.begin()
        elif isinstance(verdict, Queued):
            self._later((verdict.until - self.local_s()) / self._rate + 1e-3, self._expire, job)
        else:
            job.refused(verdict)

    def _expire(self, job: Job) -> None:
        admission = self.seats.get(job.model_id)
        if admission is not None:
            self._tell(admission.expire(self.local_s()))

    def _tell(self, verdicts: list[Any]) -> None:
        for verdict in verdicts:
            job = self.jobs[verdict.ticket]
            if isinstance(verdict.outcome, Admitted):
                job.begin()
            else:
                job.refused(verdict.outcome)

    def end_job(self, job: Job) -> None:
        """A request is over here, one way or another: its seat is free."""
        if self.jobs.pop(job.ticket, None) is None:
            return
        job.over = True
        self._told = None
        admission = self.seats.get(job.model_id)
        if admission is not None:
            self._tell(admission.release(job.ticket, self.local_s()))
            self._note_drained(job.model_id)


_DO: Final[dict[type, Callable[[SimNeuron, Any], None]]] = {
    c.FetchWeights: SimNeuron._fetch,
    c.CancelFetch: lambda _neuron, _command: None,
    c.StartEngine: SimNeuron._start_engine,
    c.ProbeEngine: SimNeuron._probe,
    c.CheckEngine: SimNeuron._check,
    c.StopEngine: SimNeuron._stop_engine,
    c.OpenSeats: SimNeuron._open_seats,
    c.DrainSeats: SimNeuron._drain_seats,
    c.CloseSeats: SimNeuron._close_seats,
    c.Answer: SimNeuron._answer,
    c.ReportStatus: SimNeuron._report,
    c.SaveConfigs: SimNeuron._save,
    c.ArmTimer: SimNeuron._arm,
}
