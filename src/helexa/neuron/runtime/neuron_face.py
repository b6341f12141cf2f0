"""The neuron as others see it: what cortex is told of it, and what it tells of itself locally."""

import asyncio
from collections.abc import Callable, Mapping

import msgspec
import psutil

from helexa.model_runtime.interfaces import EngineDescription
from helexa.neuron.runtime.supervisor import Supervisor
from helexa.neuron.runtime.supervisor_seats import Seats
from helexa.protocol.control import ProvisioningCommand, ProvisioningResponse
from helexa.protocol.dialects.dialect import DIALECTS
from helexa.protocol.ids import CommandId, ModelId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelStatus
from helexa.protocol.neuron import (
    Capabilities,
    HardwareReport,
    NeuronDescriptor,
    NeuronHealth,
    NeuronLoad,
)
from helexa.util.metrics import Metrics


class EngineUse(msgspec.Struct, frozen=True, kw_only=True):
    """An allowed engine, and whether it can run here."""

    name: str
    usable: bool
    because: str = ""


class NeuronFace:
    """Puts together what supervisor, seats and hardware know (`control_plane.ports.NeuronFace`).

    `read_hardware` may block and is called on a thread; `budget_bytes` follows from its report.
    """

    def __init__(
        self,
        *,
        descriptor: NeuronDescriptor,
        hardware: HardwareReport,
        read_hardware: Callable[[], HardwareReport],
        budget_bytes: int,
        engines: tuple[EngineUse, ...],
        supervisor: Supervisor,
        seats: Seats,
    ) -> None:
        self.descriptor = descriptor
        self.hardware = hardware
        self.engines = engines
        self._read_hardware = read_hardware
        self._budget_bytes = budget_bytes
        self._supervisor = supervisor
        self._seats = seats
        self._models_told: set[ModelId] = set()

    async def capabilities(self) -> Capabilities:
        """Return what this neuron may run, with the hardware as it is now."""
        self.hardware = await asyncio.to_thread(self._read_hardware)
        return self.known_capabilities()

    def known_capabilities(self) -> Capabilities:
        """Return the same with the hardware as it was last read."""
        return Capabilities(
            hardware=self.hardware,
            engines=tuple(engine.name for engine in self.engines if engine.usable),
            memory_budget_bytes=self._budget_bytes,
            dialects=tuple(DIALECTS),
        )

    async def provision(
        self, command_id: CommandId, command: ProvisioningCommand, cause: str
    ) -> ProvisioningResponse:
        """Hand a command to the supervisor."""
        return await self._supervisor.provision(command_id, command, cause)

    def statuses(self, *, with_config: bool = False) -> tuple[ModelStatus, ...]:
        """Return every known model."""
        return self._supervisor.statuses(with_config=with_config)

    def health(self) -> NeuronHealth:
        """Return how the neuron is doing."""
        return self._supervisor.health()

    def load(self) -> NeuronLoad:
        """Return what it is working on; reads memory and CPU, about 0.1 ms."""
        active, waiting = self._seats.total
        return NeuronLoad(
            active_requests=active,
            waiting_requests=waiting,
            memory_available_bytes=int(psutil.virtual_memory().available),
            cpu_ratio=psutil.cpu_percent(interval=None) / 100.0,
        )

    def log_tail(self, model_id: str) -> tuple[str, ...]:
        """Return the last lines of a model's engine."""
        return self._supervisor.log_tail(model_id)

    def publish(self, metrics: Metrics) -> None:
        """Write the gauges that are read, not counted; called before metrics are told."""
        up = {s.model_id: s.state is ModelState.LOADED for s in self.statuses()}
        forgotten = dict.fromkeys(self._models_told - up.keys(), False)
        self._models_told = set(up)
        for model_id, is_up in (up | forgotten).items():
            metrics.gauge(
                "helexa_neuron_model_up", "1 while the model is loaded", model=model_id
            ).set(float(is_up))
        metrics.gauge(
            "helexa_neuron_info",
            "Always 1",
            neuron=self.descriptor.id,
            version=self.descriptor.software_version,
            os=self.hardware.os,
            arch=self.hardware.arch,
        ).set(1)
        load = self.load()
        metrics.gauge(
            "helexa_neuron_memory_available_bytes", "Memory of the machine that is free"
        ).set(load.memory_available_bytes)
        metrics.gauge("helexa_neuron_requests_waiting", "Requests that wait for a seat").set(
            load.waiting_requests
        )


def engine_uses(
    engines: Mapping[str, EngineDescription],
    binaries: Mapping[str, str],
    problems: Mapping[str, str],
) -> tuple[EngineUse, ...]:
    """Say of each allowed engine whether it can run here, and why not.

    `binaries` are the usable ones by name, `problems` says what is wrong with the others. Pure.
    """
    return tuple(_engine_use(engine, binaries, problems) for engine in engines.values())


def _engine_use(
    engine: EngineDescription, binaries: Mapping[str, str], problems: Mapping[str, str]
) -> EngineUse:
    needs = engine.binaries if engine.spawns else ()
    if not needs or any(name in binaries for name in needs):
        return EngineUse(name=engine.name, usable=True)
    because = "; ".join(f"{name}: {problems.get(name, 'not installed')}" for name in needs)
    return EngineUse(name=engine.name, usable=False, because=because)
