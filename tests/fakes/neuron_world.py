"""A supervisor with real processes and a made-up weights store."""

import asyncio
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from helexa.model_runtime.interfaces import WeightsSummary
from helexa.neuron.hardware.gpu_memory import GpuMemory, read_gpu_memory
from helexa.neuron.process.ports import PortPool
from helexa.neuron.process.spawn import Spawner
from helexa.neuron.registry.limits import Limits
from helexa.neuron.registry.policy import Policy
from helexa.neuron.runtime.supervisor import Supervisor
from helexa.neuron.runtime.supervisor_ports import Outfit, Progress, World
from helexa.neuron.runtime.supervisor_seats import Seats
from helexa.protocol.control import (
    LoadModel,
    ProvisioningCommand,
    ProvisioningResponse,
    UnloadModel,
    UpsertModelConfig,
)
from helexa.protocol.ids import CommandId, ModelId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelConfig, ModelStatus, OptionValue
from helexa.util.backoff import Backoff
from helexa.util.clock import SystemClock
from helexa.util.errors import SourceError
from tests.fakes.engines import GIB, AttachedEngine, TinyEngine
from tests.fakes.waiting import until

QUICK = Limits(
    memory_budget_bytes=64 * GIB,
    drain_s=1.0,
    stop_grace_s=0.2,
    check_interval_s=0.1,
    retry=Backoff(initial_s=0.05, ceiling_s=0.2),
)


@dataclass(frozen=True)
class Found:
    path: Path
    summary: WeightsSummary | None = None


@dataclass
class FakeStore:
    """Weights are there at once, except: `slow…` waits for `gate`, `bad…` and `late…` fail."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[str] = field(default_factory=list)
    cancelled: int = 0

    async def resolve(
        self, source: str, progress: Progress, *, folder_allowed: bool = False
    ) -> Found:
        self.asked.append(source)
        if source.startswith("slow"):
            progress("download", 1, 4)
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if source.startswith("bad"):
            raise SourceError(f"{source} is no model", error_id="HX-0501")
        if source.startswith("late") and self.asked.count(source) < 3:
            raise SourceError("the hub does not answer", error_id="HX-0562")
        if source.startswith("bug"):
            raise RuntimeError("a bug of the store")
        return Found(Path("/srv/models") / source)

    async def held(self, source: str, *, folder_allowed: bool = False) -> Found | None:
        if source.startswith("bug"):
            raise RuntimeError("a bug of the store")
        return Found(Path("/srv/models") / source) if source.startswith("held") else None


class NeuronWorld:
    """The supervisor under test and everything around it."""

    def __init__(
        self,
        folder: Path,
        limits: Limits = QUICK,
        *,
        engine: TinyEngine | None = None,
        gpu_memory: Callable[[Collection[int]], GpuMemory | None] = read_gpu_memory,
        **outfit: object,
    ) -> None:
        self.folder = folder
        self.store = FakeStore()
        self.seats = Seats(SystemClock())
        self.heard: list[ModelStatus] = []
        self.saved: list[tuple[ModelConfig, ...]] = []
        self.broken: list[BaseException] = []
        self.save_error: OSError | None = None
        self.spawner = Spawner(folder / "state", sys.executable)
        policy = Policy({"tiny": engine or TinyEngine(), "attached": AttachedEngine()})
        settings = {"load_s": 20.0, "attach_s": 5.0, "check_s": 2.0, **outfit}
        self.supervisor = Supervisor(
            policy,
            limits,
            Outfit(python=sys.executable, key_folder=folder / "keys", **settings),  # type: ignore[arg-type]
            World(
                store=self.store,
                spawner=self.spawner,
                free_ports=PortPool(42000, 60000),
                seats=self.seats,
                on_status=self.heard.append,
                save_configs=self._save,
                on_broken=self.broken.append,
                gpu_memory=gpu_memory,
            ),
        )
        self.numbers = 0

    def _save(self, configs: tuple[ModelConfig, ...]) -> None:
        if self.save_error is not None:
            raise self.save_error
        self.saved.append(configs)

    async def ask(self, command: ProvisioningCommand) -> ProvisioningResponse:
        self.numbers += 1
        command_id = CommandId(f"c{self.numbers}")
        return await self.supervisor.provision(command_id, command, "test")

    async def upsert(
        self, model_id: str = "m", *, source: str | None = None, **options: OptionValue
    ) -> ProvisioningResponse:
        config = ModelConfig(id=ModelId(model_id), engine="tiny", source=source, options=options)
        return await self.ask(UpsertModelConfig(config=config))

    async def load(self, model_id: str = "m") -> ProvisioningResponse:
        return await self.ask(LoadModel(model_id=ModelId(model_id)))

    async def unload(self, model_id: str = "m") -> ProvisioningResponse:
        return await self.ask(UnloadModel(model_id=ModelId(model_id)))

    def status(self, model_id: str = "m") -> ModelStatus:
        return next(s for s in self.supervisor.statuses() if s.model_id == model_id)

    async def reach(self, state: ModelState, model_id: str = "m") -> ModelStatus:
        await until(
            lambda: self.status(model_id).state is state,
            f"{model_id} is {state}, now {self.status(model_id)}",
        )
        return self.status(model_id)

    def pids(self, model_id: str = "m") -> list[int]:
        """The pids of all starts of a model that has the option `starts`."""
        path = self.folder / f"{model_id}.starts"
        return [int(line) for line in path.read_text().split()] if path.exists() else []
