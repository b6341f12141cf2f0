"""What the supervisor needs of the world, as small interfaces, and its settings."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from helexa.model_runtime.interfaces import LaunchPlan, WeightsSummary
from helexa.neuron.hardware.gpu_memory import GpuMemory, read_gpu_memory
from helexa.neuron.process.exits import ExitDescription
from helexa.neuron.process.output import OutputRing
from helexa.neuron.runtime.supervisor_seats import Seats
from helexa.protocol.model import ModelConfig, ModelStatus
from helexa.util.clock import Clock, SystemClock

Progress = Callable[[str, int, int | None], None]
"""Told the phase of a download, the bytes that are here and, where it is known, of how many."""

SaveConfigs = Callable[[tuple[ModelConfig, ...]], None]
"""Keeps the configs across a restart. Called on a thread, may block, raises OSError."""

OnStatus = Callable[[ModelStatus], None]
"""Told each change of a model, on the event loop; must not raise."""

MemoryMeter = Callable[[], int | None]
"""Measures the memory that an engine's processes hold, in bytes. May block."""


class FoundWeights(Protocol):
    """Weights that lie on this machine."""

    @property
    def path(self) -> Path:
        """A real path inside the model folders."""
        ...

    @property
    def summary(self) -> WeightsSummary | None:
        """What their header says."""
        ...


class WeightsStore(Protocol):
    """Where weights come from; `model_runtime.models.store.ModelStore` is one."""

    async def resolve(
        self, source: str, progress: Progress, *, folder_allowed: bool = False
    ) -> FoundWeights:
        """Return the weights, fetched first where need be; raises HelexaError or OSError."""
        ...

    async def held(self, source: str, *, folder_allowed: bool = False) -> FoundWeights | None:
        """Return the weights if they are here and known to be right, else None; fetch nothing."""
        ...


class RunningProcess(Protocol):
    """An engine process; `process.spawn.EngineProcess` is one."""

    @property
    def pid(self) -> int:
        """Of the engine; also its process group."""
        ...

    @property
    def output(self) -> OutputRing:
        """What it printed last."""
        ...

    def memory_bytes(self) -> int | None:
        """Return what it and its children hold; may block."""
        ...

    def pids(self) -> list[int]:
        """Return it and its children; may block."""
        ...

    async def wait(self) -> ExitDescription:
        """Wait until it is gone, with its children."""
        ...

    async def stop(self, grace_s: float) -> ExitDescription:
        """End it, by force after `grace_s`; return when it is gone."""
        ...


class EngineSpawner(Protocol):
    """Starts engine processes; `process.spawn.Spawner` is one."""

    async def start(self, plan: LaunchPlan, name: str) -> RunningProcess:
        """Start one; raises HelexaError. Cancelling ends it."""
        ...


class Ports(Protocol):
    """Free loopback ports; `process.ports.PortPool` is one."""

    def take(self) -> int:
        """Return a free port; raises LimitError when there is none."""
        ...

    def give_back(self, port: int) -> None:
        """The engine on it is gone."""
        ...


def _ignore(_: object) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class World:
    """All that the supervisor acts on and tells."""

    store: WeightsStore
    spawner: EngineSpawner
    free_ports: Ports
    seats: Seats
    on_status: OnStatus = _ignore
    save_configs: SaveConfigs = _ignore
    on_broken: Callable[[BaseException], None] = _ignore
    """The supervisor itself failed by a bug: the process should end, and be started anew."""
    clock: Clock = field(default_factory=SystemClock)
    gpu_memory: Callable[[Collection[int]], GpuMemory | None] = read_gpu_memory
    """What GPUs hold, and what these processes hold of it; may block."""


@dataclass(frozen=True, slots=True)
class Outfit:
    """What engines are started with on this neuron. All from its own config and hardware."""

    python: str
    key_folder: Path
    """Private folder for the keys of running engines."""
    threads: int = 1
    binaries: Mapping[str, str] = field(default_factory=dict)
    gpu: bool = False
    cpu_features: frozenset[str] = frozenset()
    folder_engines: frozenset[str] = frozenset({"vllm"})
    """Engines whose weights may be a folder."""
    secrets_folder: Path | None = None
    """The only folder in which a model's config may name a key file; None allows none."""
    load_s: float = 600.0
    """From an engine's start to its first token."""
    attach_s: float = 30.0
    """The same for a server that runs already."""
    check_s: float = 10.0
    """For one health check of a serving engine."""
