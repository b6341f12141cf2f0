"""The fleet as it was, kept over a restart of cortex: who is expected back, and with what.

It is only ever a reason to wait: what a neuron says when it registers replaces all of it. Without
it a restarted cortex would load a model anew on the first neuron that comes back, while the one
that has it is still on its way.
"""

import asyncio
from pathlib import Path
from typing import Any, Final

import msgspec

from helexa.cache.json_store import JsonStore
from helexa.cortex.orchestrator.events import NeuronRestored
from helexa.cortex.orchestrator.snapshot import FleetSnapshot, NeuronView
from helexa.protocol.ids import ModelId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelStatus
from helexa.protocol.neuron import Capabilities, NeuronDescriptor
from helexa.util.errors import HelexaError
from helexa.util.tasks import TaskScope

FILE_NAME: Final = "fleet.json"
SAVE_INTERVAL_S: Final = 5.0
SAVE_INTERVAL_S_MIN: Final = 0.25
WORK_SHARE: Final = 0.02
"""Of the time, so much at most goes into writing: a large fleet is written less often."""
_UP: Final = frozenset({ModelState.LOADED, ModelState.LOADING})


class RememberedNeuron(msgspec.Struct, frozen=True, kw_only=True):
    """One neuron as it was last seen."""

    neuron: NeuronDescriptor
    capabilities: Capabilities
    models: tuple[ModelStatus, ...] = ()
    owned: tuple[ModelId, ...] = ()
    lent: tuple[ModelId, ...] = ()
    cordoned: bool = False
    draining: bool = False


class FleetMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Every neuron that was connected."""

    neurons: tuple[RememberedNeuron, ...] = ()


def memory_of(snapshot: FleetSnapshot) -> FleetMemory:
    """Return what is worth keeping of a snapshot: who had which model, without passing figures."""
    views = [snapshot.neurons[key] for key in sorted(snapshot.neurons)]
    return FleetMemory(neurons=tuple(_remembered(view) for view in views))


def events_of(memory: FleetMemory) -> list[NeuronRestored]:
    """Return the events that bring a remembered fleet back."""
    return [
        NeuronRestored(
            each.neuron,
            each.capabilities,
            each.models,
            frozenset(each.owned),
            frozenset(each.lent),
            cordoned=each.cordoned,
            draining=each.draining,
        )
        for each in memory.neurons
    ]


def _remembered(view: NeuronView) -> RememberedNeuron:
    statuses = [i.status for i in view.instances.values() if i.status is not None]
    return RememberedNeuron(
        neuron=view.descriptor,
        capabilities=view.capabilities,
        models=tuple(_at_rest(s) for s in statuses),
        owned=tuple(sorted(key for key, i in view.instances.items() if i.owned)),
        lent=tuple(sorted(key for key, i in view.instances.items() if i.lent)),
        cordoned=view.cordoned,
        draining=view.draining,
    )


def _at_rest(status: ModelStatus) -> ModelStatus:
    """Return a status without passing figures. What is not up counts as unloaded: its name is known
    before its neuron is back, and what ailed it may be over."""
    return msgspec.structs.replace(
        status,
        state=status.state if status.state in _UP else ModelState.UNLOADED,
        because="",
        progress=None,
        failures=0,
        retry_after_s=None,
        active_requests=0,
        waiting_requests=0,
    )


class MemoryKeeper:
    """Writes the fleet's memory soon after it has changed.

    What is not written yet when cortex is killed is lost, and a model that it had just loaded is
    then nobody's to take away.
    """

    def __init__(self, state_dir: Path, logger: Any) -> None:
        self._store = JsonStore(state_dir / FILE_NAME, FleetMemory)
        self._logger = logger
        self._saving = asyncio.Lock()
        self._due: FleetSnapshot | None = None
        self._noted = asyncio.Event()
        self._saved: FleetMemory | None = None

    def load(self) -> list[NeuronRestored]:
        """Return the remembered fleet as events; a damaged file is set aside and said."""
        loaded = self._store.load(FleetMemory)
        if loaded.problem:
            self._logger.warning("fleet_memory_not_used", because=loaded.problem)
        self._saved = loaded.value
        return events_of(loaded.value)

    def note(self, snapshot: FleetSnapshot) -> None:
        """Take a new snapshot; it is written later, if it differs in what is kept."""
        self._due = snapshot
        self._noted.set()

    def start(self, tasks: TaskScope) -> None:
        """Begin to write in the background."""
        tasks.start(self._keep(), "fleet memory")

    async def flush(self) -> str:
        """Write what is due now; return why not, if so. A full disk costs the memory only.

        One write at a time, so that none is overtaken by an older one.
        """
        async with self._saving:
            snapshot, self._due = self._due, None
            if snapshot is None:
                return ""
            due = memory_of(snapshot)
            if due == self._saved:
                return ""
            try:
                await asyncio.to_thread(self._store.save, due)
                self._saved = due
            except HelexaError as error:
                self._due = snapshot if self._due is None else self._due
                self._logger.warning("fleet_memory_not_saved", because=str(error))
                return str(error)
        return ""

    async def _keep(self) -> None:
        clock = asyncio.get_running_loop()
        while True:
            await self._noted.wait()
            self._noted.clear()
            started_s = clock.time()
            await self.flush()
            await asyncio.sleep(pause_s(clock.time() - started_s))


def pause_s(worked_s: float) -> float:
    """Return how long nothing is written after a write that took so long."""
    return min(max(worked_s / WORK_SHARE, SAVE_INTERVAL_S_MIN), SAVE_INTERVAL_S)
