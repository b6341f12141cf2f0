"""One answer of `/metrics`: first what has to be read anew, then everything in text."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from helexa.model_runtime.interfaces import EngineDescription
from helexa.neuron.registry.commands import RunningModel
from helexa.neuron.runtime.engine_metrics import EngineMetrics
from helexa.neuron.runtime.machine_metrics import MachineMetrics
from helexa.neuron.runtime.supervisor_ports import MemoryMeter
from helexa.util.metrics import Metrics
from helexa.util.tasks import TaskScope

WAIT_S: Final = 2.0
"""For all readings together, well below the ten seconds that Prometheus waits."""


class Scrape:
    """Puts together the metrics of this neuron, in bounded time whatever hangs."""

    def __init__(
        self,
        metrics: Metrics,
        tasks: TaskScope,
        now: Callable[[], float],
        running: Callable[[], list[tuple[RunningModel, MemoryMeter | None]]],
        descriptions: Mapping[str, EngineDescription],
        weights_folder: Path,
    ) -> None:
        self._metrics = metrics
        self._machine = MachineMetrics(metrics, weights_folder, tasks=tasks, now=now)
        self._engines = EngineMetrics(metrics, running, descriptions, tasks=tasks, now=now)

    async def told(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._machine.collect(WAIT_S))
            group.create_task(self._engines.collect(WAIT_S))
        return self._metrics.render()

    async def close(self) -> None:
        """Close the connections to engines."""
        await self._engines.close()
