"""The machine's own gauges: GPUs, and the disk that holds the weights."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from helexa.model_runtime.models import disk
from helexa.neuron.hardware.gpus import GpuReading, read_gpus
from helexa.neuron.runtime.sampler import Sampler, in_own_thread
from helexa.util.metrics import Metrics
from helexa.util.tasks import TaskScope

GPUS_FRESH_S: Final = 2.0
DISK_FRESH_S: Final = 10.0
_INFO: Final = "helexa_gpu_info"
_GAUGES: Final = (
    ("helexa_gpu_memory_total_bytes", "Memory of the GPU", "memory_total_bytes"),
    ("helexa_gpu_memory_used_bytes", "Memory of the GPU in use, by anyone", "memory_used_bytes"),
    ("helexa_gpu_utilization_ratio", "Share of time that the GPU works", "utilization_ratio"),
    ("helexa_gpu_power_watts", "What the GPU draws", "power_watts"),
    ("helexa_gpu_temperature_celsius", "How warm the GPU is", "temperature_celsius"),
)


class MachineMetrics:
    """Reads GPUs and disk when asked. `folder` holds the weights, and need not be there yet."""

    def __init__(
        self,
        metrics: Metrics,
        folder: Path,
        *,
        tasks: TaskScope,
        now: Callable[[], float],
        gpus: Callable[[], tuple[GpuReading, ...]] = read_gpus,
    ) -> None:
        self._metrics = metrics
        self._gpus = Sampler(
            lambda: in_own_thread(gpus), "GPUs", tasks=tasks, now=now, fresh_s=GPUS_FRESH_S
        )
        self._disk = Sampler(
            lambda: in_own_thread(lambda: read_disk(folder)),
            "weights folder",
            tasks=tasks,
            now=now,
            fresh_s=DISK_FRESH_S,
        )

    async def collect(self, wait_s: float) -> None:
        """Set the gauges within `wait_s`; those that cannot be read in time are left out."""
        async with asyncio.TaskGroup() as group:
            gpus = group.create_task(self._gpus.latest(wait_s))
            read = group.create_task(self._disk.latest(wait_s))
        self._tell_gpus(gpus.result() or ())
        self._metrics.clear("helexa_model_cache_bytes", "helexa_disk_free_bytes")
        sizes = read.result()
        if sizes is not None:
            held_bytes, free_bytes = sizes
            self._metrics.gauge("helexa_model_cache_bytes", "Size of the weights folder").set(
                held_bytes
            )
            self._metrics.gauge(
                "helexa_disk_free_bytes", "Free on the disk that holds the weights folder"
            ).set(free_bytes)

    def _tell_gpus(self, readings: tuple[GpuReading, ...]) -> None:
        metrics = self._metrics
        metrics.clear(_INFO, *(name for name, _, _ in _GAUGES))
        for gpu in readings:
            metrics.gauge(
                _INFO, "Always 1", gpu=gpu.gpu, uuid=gpu.uuid, vendor=gpu.vendor, name=gpu.name,
                driver=gpu.driver,
            ).set(1)  # fmt: skip
            for name, text, attribute in _GAUGES:
                value = getattr(gpu, attribute)
                if value is not None:
                    metrics.gauge(name, text, gpu=gpu.gpu).set(value)


def read_disk(folder: Path) -> tuple[int, int]:
    """Return the size of what is in a folder, and what its disk has free. May block."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    return disk.folder_bytes(folder) if there == folder else 0, disk.free_bytes(there)
