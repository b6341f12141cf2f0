"""Carrying out the registry's commands: one task each, told back as events.

Nothing here decides. A fetch, a start, a probe or a stop of one model never waits for another's.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from helexa.model_runtime.interfaces import EngineDescription
from helexa.neuron.hardware.gpu_memory import GpuMemory, engine_bytes
from helexa.neuron.registry.commands import (
    CheckEngine,
    FetchWeights,
    LookAtWeights,
    ProbeEngine,
    RunningModel,
    StartEngine,
    StopEngine,
)
from helexa.neuron.registry.events import (
    EngineAnswered,
    EngineExited,
    EngineFailed,
    EngineMissed,
    EngineReady,
    EngineSpawned,
    Event,
    FetchedWeights,
    WeightsFailed,
    WeightsProgress,
    WeightsReady,
    WeightsSeen,
)
from helexa.neuron.registry.policy import Policy
from helexa.neuron.runtime.sampler import in_own_thread
from helexa.neuron.runtime.supervisor_launch import Launcher, Started
from helexa.neuron.runtime.supervisor_ports import MemoryMeter, Outfit, RunningProcess, World
from helexa.neuron.runtime.supervisor_probe import ProbeFailedError, Prober
from helexa.protocol.ids import ModelId
from helexa.util import logging
from helexa.util.errors import ConfigError, HelexaError, SourceError, describe
from helexa.util.tasks import TaskScope

TAIL_LINES: Final = 20
ILLEGAL_INSTRUCTION: Final = "SIGILL"
GPU_ANSWERS_WITHIN_S: Final = 10.0
PROGRESS_EVERY_S: Final = 0.5
LATER_MAY_HELP: Final = frozenset(
    {"HX-0530", "HX-0531", "HX-0533", "HX-0550", "HX-0560", "HX-0562"}
)
"""Source errors that time can heal: a disk that is full or cannot be written, an index or a hub
that does not answer."""

Post = Callable[[Event], None]
_log = logging.get("supervisor")


@dataclass(slots=True)
class _Engine:
    """One attempt at running an engine."""

    model_id: ModelId
    attempt: int
    cause: str
    engine: str
    """The name of its description."""
    started: Started | None = None
    work: "asyncio.Task[Any] | None" = None
    """Its start, probe or check, whichever is under way."""
    stopping: bool = field(default=False)
    loaded: bool = False
    """It has served its canary."""
    gpu_before: GpuMemory | None = None
    """What GPUs held before it began to load."""
    turn: int = 0
    """How many engines had begun or ended when it did; 0 where another one was loading then."""

    @property
    def log_tail(self) -> tuple[str, ...]:
        if self.started is None or self.started.process is None:
            return ()
        return self.started.process.output.tail(TAIL_LINES)


class EngineWork:
    """Every fetch and every engine of this neuron."""

    def __init__(
        self,
        policy: Policy,
        outfit: Outfit,
        world: World,
        launcher: Launcher,
        scope: TaskScope,
        post: Post,
    ) -> None:
        self._policy = policy
        self._outfit = outfit
        self._store = world.store
        self._launcher = launcher
        self._clock = world.clock
        self._scope = scope
        self._post = post
        self._prober = Prober(world.clock)
        self._fetches: dict[int, asyncio.Task[Any]] = {}
        self._engines: dict[int, _Engine] = {}
        self._looking = asyncio.Lock()
        self._gpu_memory = world.gpu_memory
        self._turn = 0
        """Counts what changes the memory of GPUs: engines that begin, and that are gone."""

    def log_tail(self, attempt: int) -> tuple[str, ...]:
        """Return the last lines of an engine that still runs."""
        engine = self._engines.get(attempt)
        return engine.log_tail if engine is not None else ()

    def memory_meter(self, attempt: int) -> MemoryMeter | None:
        """Return what measures an engine's memory; None where no process of ours runs."""
        engine = self._engines.get(attempt)
        if engine is None or engine.started is None or engine.started.process is None:
            return None
        return engine.started.process.memory_bytes

    async def close(self) -> None:
        """Kill every engine that is left and close the connections."""
        alive = [engine.started.process for engine in self._engines.values() if engine.started]
        for process in alive:
            if process is not None:
                await process.stop(0.0)
        await self._prober.close()

    # ── weights ───────────────────────────────────────────────────────────────────────────────

    def fetch(self, command: FetchWeights) -> None:
        """Begin to fetch."""
        work = self._fetch(command, folder_allowed=command.engine in self._outfit.folder_engines)
        task = self._scope.start(work, f"fetch {command.model_id}")
        self._fetches[command.attempt] = task
        task.add_done_callback(lambda _: self._fetches.pop(command.attempt, None))

    def cancel_fetch(self, attempt: int) -> None:
        """Give up; what was downloaded stays for the next time."""
        task = self._fetches.get(attempt)
        if task is not None:
            task.cancel()

    async def _fetch(self, command: FetchWeights, *, folder_allowed: bool) -> None:
        model_id, attempt, cause = command.model_id, command.attempt, command.cause
        told_at = self._clock.monotonic()

        def progress(phase: str, done_bytes: int, total_bytes: int | None) -> None:
            nonlocal told_at
            now = self._clock.monotonic()
            if now - told_at < PROGRESS_EVERY_S:
                return
            told_at = now
            ratio = min(1.0, done_bytes / total_bytes) if total_bytes else None
            text = f"{phase} of weights"
            event = WeightsProgress(
                model_id=model_id, attempt=attempt, ratio=ratio, text=text, cause=cause
            )
            self._post(event)

        try:
            found = await self._store.resolve(
                command.source, progress, folder_allowed=folder_allowed
            )
        except Exception as error:  # noqa: BLE001  # a fault of one source fails one model only
            self._post(
                WeightsFailed(
                    model_id=model_id,
                    attempt=attempt,
                    because=_say(error),
                    retryable=_may_heal(error),
                    cause=cause,
                )
            )
            return
        weights = FetchedWeights(str(found.path), found.summary)
        self._post(WeightsReady(model_id=model_id, attempt=attempt, weights=weights, cause=cause))

    def look(self, command: LookAtWeights) -> None:
        """Begin to read a header; one at a time, since nothing waits for it."""
        self._scope.start(self._look(command), f"look {command.model_id}")

    async def _look(self, command: LookAtWeights) -> None:
        async with self._looking:
            try:
                found = await self._store.held(
                    command.source,
                    folder_allowed=command.engine in self._outfit.folder_engines,
                )
            except Exception as error:  # noqa: BLE001  # a load will find the fault and tell it
                _log.debug("weights not looked at", source=command.source, error=describe(error))
                return
        if found is not None:
            self._post(
                WeightsSeen(
                    model_id=command.model_id,
                    source=command.source,
                    summary=found.summary,
                    cause=command.cause,
                )
            )

    # ── engines ───────────────────────────────────────────────────────────────────────────────

    def start(self, command: StartEngine) -> None:
        """Begin to start an engine."""
        name = command.config.engine
        engine = _Engine(command.model_id, command.attempt, command.cause, name)
        self._turn += 1
        if all(each.loaded for each in self._engines.values()):
            engine.turn = self._turn
        self._engines[command.attempt] = engine
        engine.work = self._scope.start(
            self._start(command, engine), f"start {command.model_id}#{command.attempt}"
        )

    def probe(self, command: ProbeEngine) -> None:
        """Begin to wait until an engine serves."""
        engine = self._engines.get(command.model.attempt)
        if engine is not None and not engine.stopping:
            work = self._probe(command.model, engine)
            engine.work = self._scope.start(work, f"probe {command.model.worker_id}")

    def check(self, command: CheckEngine) -> None:
        """Ask a serving engine's health once."""
        engine = self._engines.get(command.model.attempt)
        if engine is not None and not engine.stopping:
            work = self._check(command.model, engine)
            engine.work = self._scope.start(work, f"check {command.model.worker_id}")

    def stop(self, command: StopEngine) -> None:
        """Begin to stop an engine; `EngineExited` follows in any case."""
        engine = self._engines.get(command.attempt)
        if engine is None:
            # It ended by itself, and its end was told while this command was on its way.
            return
        engine.stopping = True
        work = self._stop(engine, command.grace_s)
        self._scope.start(work, f"stop {command.model_id}#{command.attempt}")

    async def _start(self, command: StartEngine, engine: _Engine) -> None:
        if self._outfit.gpu:
            engine.gpu_before = await self._read_gpus(list)
        try:
            started = await self._launcher.start(command)
        except Exception as error:  # noqa: BLE001  # a fault of one engine fails one model only
            self._fail(engine, _say(error), permanent=not _may_heal(error))
            return
        engine.started = started
        pid = None
        if started.process is not None:
            pid = started.process.pid
            self._scope.start(self._watch(engine), f"watch {engine.model_id}#{engine.attempt}")
        self._post(
            EngineSpawned(
                model_id=engine.model_id,
                attempt=engine.attempt,
                endpoint=started.endpoint,
                headers=started.headers,
                pid=pid,
                cause=engine.cause,
            )
        )

    async def _watch(self, engine: _Engine) -> None:
        assert engine.started is not None
        assert engine.started.process is not None
        ended = await engine.started.process.wait()
        await _cancel(engine.work)
        if ended.signal_name == ILLEGAL_INSTRUCTION:
            self._set_aside(engine, engine.started.program)
        self._gone(engine, str(ended))

    def _set_aside(self, engine: _Engine, program: str) -> None:
        """The next start takes another executable of the same engine, where there is one."""
        if self._launcher.set_aside(engine.engine, program):
            _log.warning(
                "this CPU cannot run an executable; another one is used from now on",
                engine=engine.engine, program=program, model_id=engine.model_id,
            )  # fmt: skip

    async def _stop(self, engine: _Engine, grace_s: float) -> None:
        await _cancel(engine.work)
        if engine.started is not None and engine.started.process is not None:
            # Its watcher tells the end.
            await engine.started.process.stop(grace_s)
        else:
            self._gone(engine, "stopped")

    def _gone(self, engine: _Engine, because: str) -> None:
        self._engines.pop(engine.attempt, None)
        self._turn += 1
        if engine.started is not None:
            self._launcher.give_back(engine.started)
        self._post(
            EngineExited(
                model_id=engine.model_id,
                attempt=engine.attempt,
                because=because,
                log_tail=engine.log_tail,
                cause=engine.cause,
            )
        )

    async def _probe(self, model: RunningModel, engine: _Engine) -> None:
        description = self._description(model)
        limit_s = self._outfit.load_s if description.spawns else self._outfit.attach_s
        try:
            probe = description.probe(model.config, model.capability)
            await self._prober.ready(model, probe, limit_s)
        except Exception as error:  # noqa: BLE001  # a fault of one engine fails one model only
            self._fail(engine, _say(error))
            return
        process = engine.started.process if engine.started is not None else None
        measured = await self._measured(engine, process) if process is not None else None
        engine.loaded = True
        self._post(
            EngineReady(
                model_id=model.model_id,
                attempt=model.attempt,
                memory_bytes=measured,
                cause=engine.cause,
            )
        )

    async def _measured(self, engine: _Engine, process: RunningProcess) -> int | None:
        if not self._outfit.gpu:
            return await asyncio.to_thread(process.memory_bytes)
        # The weights lie where the process table does not count.
        after = await self._read_gpus(process.pids)
        return engine_bytes(engine.gpu_before, after, alone=self._turn == engine.turn)

    async def _read_gpus(self, pids: Callable[[], list[int]]) -> GpuMemory | None:
        """Return what GPUs hold; None where the driver does not answer, for which nothing waits."""
        reading = in_own_thread(lambda: self._gpu_memory(pids()))
        try:
            return await asyncio.wait_for(reading, GPU_ANSWERS_WITHIN_S)
        except Exception as error:  # noqa: BLE001  a model is served whatever its memory is
            _log.warning("the memory of GPUs cannot be read", error=describe(error))
            return None

    async def _check(self, model: RunningModel, engine: _Engine) -> None:
        names = {"model_id": model.model_id, "attempt": model.attempt, "cause": engine.cause}
        try:
            probe = self._description(model).probe(model.config, model.capability)
            await self._prober.check(model, probe, self._outfit.check_s)
        except Exception as error:  # noqa: BLE001  # a fault of one engine fails one model only
            self._post(EngineMissed(because=_say(error), **names))  # type: ignore[arg-type]
        else:
            self._post(EngineAnswered(**names))  # type: ignore[arg-type]

    def _fail(self, engine: _Engine, because: str, *, permanent: bool = False) -> None:
        self._post(
            EngineFailed(
                model_id=engine.model_id,
                attempt=engine.attempt,
                because=because,
                log_tail=engine.log_tail,
                permanent=permanent,
                cause=engine.cause,
            )
        )

    def _description(self, model: RunningModel) -> EngineDescription:
        return self._policy.engines[model.engine]


async def _cancel(task: "asyncio.Task[Any] | None") -> None:
    if task is None or task.done() or task is asyncio.current_task():
        return
    task.cancel()
    await asyncio.wait({task})


def _may_heal(error: Exception) -> bool:
    """Tell whether trying the same again later can help."""
    if isinstance(error, SourceError):
        return error.error_id in LATER_MAY_HELP
    if isinstance(error, ConfigError):
        return False
    return isinstance(error, HelexaError | OSError)


def _say(error: Exception) -> str:
    if isinstance(error, ProbeFailedError | ValueError):
        return str(error)
    return error.message if isinstance(error, HelexaError) else describe(error)
