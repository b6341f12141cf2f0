"""The machine's gauges: made-up GPUs, a real folder."""

import threading

import pytest

from helexa.neuron.hardware.gpus import GpuReading
from helexa.neuron.runtime.machine_metrics import DISK_FRESH_S, MachineMetrics, read_disk
from helexa.util.metrics import PrometheusMetrics
from helexa.util.tasks import TaskScope

GPU = GpuReading(
    gpu="nvidia0", vendor="nvidia", name="NVIDIA L4", uuid="GPU-1", driver="570",
    memory_total_bytes=16_000_000_000, memory_used_bytes=2_000_000_000, utilization_ratio=0.5,
    power_watts=60.5, temperature_celsius=None,
)  # fmt: skip


class Machine:
    """The metrics of a machine whose GPUs and time the test sets."""

    def __init__(self, tasks, folder) -> None:
        self.gpus = (GPU,)
        self.now_s = 0.0
        self.metrics = PrometheusMetrics()
        self.told = MachineMetrics(
            self.metrics, folder, tasks=tasks, now=lambda: self.now_s, gpus=lambda: self.gpus
        )

    async def lines(self, wait_s: float = 20.0) -> set[str]:
        await self.told.collect(wait_s)
        text = self.metrics.render().decode()
        return {line for line in text.splitlines() if line.startswith(("helexa_gpu", "helexa_m"))}


@pytest.fixture
async def machine(tmp_path):
    tasks = TaskScope(lambda name, error: pytest.fail(f"{name}: {error}"))
    (tmp_path / "a.gguf").write_bytes(b"x" * 1234)
    yield Machine(tasks, tmp_path)
    await tasks.close()


async def test_gpus_and_the_weights_folder_are_told(machine):
    info = 'driver="570",gpu="nvidia0",name="NVIDIA L4",uuid="GPU-1",vendor="nvidia"'
    assert await machine.lines() == {
        f"helexa_gpu_info{{{info}}} 1.0",
        'helexa_gpu_memory_total_bytes{gpu="nvidia0"} 1.6e+10',
        'helexa_gpu_memory_used_bytes{gpu="nvidia0"} 2e+09',
        'helexa_gpu_utilization_ratio{gpu="nvidia0"} 0.5',
        'helexa_gpu_power_watts{gpu="nvidia0"} 60.5',
        "helexa_model_cache_bytes 1234.0",
    }


async def test_a_gpu_that_is_gone_is_no_longer_told(machine):
    await machine.lines()
    machine.gpus = ()
    machine.now_s += DISK_FRESH_S
    assert await machine.lines() == {"helexa_model_cache_bytes 1234.0"}


async def test_a_driver_that_hangs_hides_nothing_else(machine, tmp_path):
    gate = threading.Event()

    def hang() -> tuple[GpuReading, ...]:
        gate.wait()
        return ()

    tasks = TaskScope(lambda name, error: pytest.fail(f"{name}: {error}"))
    metrics = PrometheusMetrics()
    told = MachineMetrics(metrics, tmp_path, tasks=tasks, now=lambda: 0.0, gpus=hang)
    while "helexa_disk_free_bytes" not in metrics.render().decode():
        await told.collect(0.05)
    assert "helexa_gpu" not in metrics.render().decode()
    gate.set()
    await tasks.close()


def test_a_folder_that_is_not_there_yet_holds_nothing_on_the_disk_of_its_parent(tmp_path):
    (tmp_path / "x").write_bytes(b"12")
    held, free = read_disk(tmp_path / "a" / "b")
    assert held == 0
    assert free > 0
    assert read_disk(tmp_path)[0] == 2
