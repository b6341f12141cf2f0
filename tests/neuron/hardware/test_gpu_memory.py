"""Memory of GPUs by process, from a made-up driver library and made-up driver files."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from helexa.neuron.hardware.gpu_memory import (
    INITIAL_NAMESPACE,
    GpuMemory,
    engine_bytes,
    read_gpu_memory,
)

GIB = 1 << 30
OURS = (70, 71)
Sizes = dict[int, int | None]


class FakeNvml:
    """Stands for pynvml: `computing` and `drawing` are each GPU's processes by pid.

    As the library has it, a size is None where the driver does not know it (WSL, WDDM), and a call
    that a GPU or a right does not allow raises: None in the place of a GPU's processes.
    """

    class NVMLError(Exception):
        pass

    def __init__(self, *computing: Sizes | None, drawing: tuple[Sizes, ...] = ()) -> None:
        self.computing = computing
        self.drawing = drawing
        self.open = 0
        self.lost: set[int] = set()

    def nvmlInit(self):  # noqa: N802
        self.open += 1

    def nvmlShutdown(self):  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self):  # noqa: N802
        return len(self.computing)

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        if index in self.lost:
            raise self.NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return SimpleNamespace(total=24 * GIB, free=14 * GIB)

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return "NVIDIA L4"

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        return self._listed(self.computing[handle])

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle):  # noqa: N802
        return self._listed(self.drawing[handle] if self.drawing else None)

    def _listed(self, sizes: Sizes | None):
        if sizes is None:
            raise self.NVMLError("Insufficient Permissions")
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in sizes.items()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine whose process ids are the driver's."""
    (tmp_path / "proc/self/ns").mkdir(parents=True)
    (tmp_path / "proc/self/ns/pid").symlink_to(INITIAL_NAMESPACE)
    return tmp_path


def absent():
    raise ImportError("no pynvml")


def test_what_an_engine_holds_is_summed_over_its_processes_and_gpus(root):
    nvml = FakeNvml({70: GIB, 9: 5 * GIB}, {71: 2 * GIB, 70: GIB})
    assert read_gpu_memory(OURS, lambda: nvml, root) == GpuMemory(20 * GIB, 4 * GIB)
    assert nvml.open == 0


def test_a_process_that_computes_and_draws_counts_once_on_each_gpu(root):
    nvml = FakeNvml({70: GIB}, {}, drawing=({70: 2 * GIB}, {71: GIB}))
    assert read_gpu_memory(OURS, lambda: nvml, root) == GpuMemory(20 * GIB, 3 * GIB)


@pytest.mark.parametrize(
    "gpus",
    [
        pytest.param([{70: None}, {71: GIB}], id="a size that the driver does not know"),
        pytest.param([{70: GIB}, None], id="a gpu that does not tell its processes"),
        pytest.param([{9: GIB}, {}], id="no process of ours"),
    ],
)
def test_what_is_not_told_of_all_of_them_is_not_taken_for_the_sum(root, gpus):
    nvml = FakeNvml(*gpus)
    assert read_gpu_memory(OURS, lambda: nvml, root) == GpuMemory(20 * GIB, None)


def test_a_gpu_that_is_lost_does_not_hide_the_others(root):
    nvml = FakeNvml({70: GIB}, {71: GIB})
    nvml.lost = {1}
    assert read_gpu_memory(OURS, lambda: nvml, root) == GpuMemory(10 * GIB, GIB)


def test_in_a_container_a_stranger_with_the_same_number_is_not_ours(root):
    """The driver tells the numbers of the host."""
    (root / "proc/self/ns/pid").unlink()
    (root / "proc/self/ns/pid").symlink_to("pid:[4026532777]")
    nvml = FakeNvml({70: GIB})
    assert read_gpu_memory(OURS, lambda: nvml, root) == GpuMemory(10 * GIB, None)


def test_a_machine_without_a_gpu_has_nothing_to_tell(root):
    assert read_gpu_memory(OURS, absent, root) is None


def test_this_machine_is_read_without_harm():
    found = read_gpu_memory((1,))
    assert found is None or found.used_bytes >= 0


# ── AMD ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def amd(root: Path) -> Path:
    device = root / "sys/class/drm/card0/device"
    device.mkdir(parents=True)
    for name, text in (
        ("vendor", "0x1002"),
        ("mem_info_vram_total", str(16 * GIB)),
        ("mem_info_vram_used", str(6 * GIB)),
    ):
        (device / name).write_text(text + "\n")
    return root


def opened(root: Path, pid: int, number: int, **fields: str) -> None:
    folder = root / f"proc/{pid}/fdinfo"
    folder.mkdir(parents=True, exist_ok=True)
    lines = {
        "drm-driver": "amdgpu",
        "drm-client-id": "1",
        "drm-pdev": "0000:03:00.0",
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    head = "pos:\t0\nflags:\t02100002\nmnt_id:\t24\n"
    text = head + "".join(f"{name}:\t{value}\n" for name, value in lines.items())
    (folder / str(number)).write_text(text)


def test_amds_driver_tells_it_for_each_open_device_and_a_client_counts_once(amd):
    opened(amd, 70, 5, drm_memory_vram="2097152 KiB")
    opened(amd, 70, 6, drm_memory_vram="2097152 KiB")
    opened(amd, 71, 5, drm_memory_vram="1024 MiB", drm_client_id="2")
    opened(amd, 71, 6, drm_memory_vram="4 KiB", drm_client_id="2", drm_pdev="0000:83:00.0")
    opened(amd, 9, 5, drm_memory_vram="9999999 KiB", drm_client_id="3")
    assert read_gpu_memory(OURS, absent, amd) == GpuMemory(6 * GIB, 3 * GIB + 4096)


@pytest.mark.parametrize(
    "fields",
    [
        {"drm_memory_vram": "many KiB"},
        {"drm_memory_vram": "4 pages"},
        {"drm_driver": "i915", "drm_memory_vram": "4 KiB"},
        {},
    ],
)
def test_what_another_driver_or_no_driver_tells_is_left_out(amd, fields):
    opened(amd, 70, 5, **fields)
    assert read_gpu_memory(OURS, absent, amd) == GpuMemory(6 * GIB, None)


# ── an engine's share ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("before", "after", "alone", "found"),
    [
        (GpuMemory(5, None), GpuMemory(9, 3), True, 3),
        (None, GpuMemory(9, 3), False, 3),
        (GpuMemory(5, None), GpuMemory(9, None), True, 4),
        (GpuMemory(5, None), GpuMemory(9, None), False, None),
        (GpuMemory(9, None), GpuMemory(5, None), True, None),
        (None, GpuMemory(9, None), True, None),
        (GpuMemory(5, None), None, True, None),
    ],
)
def test_an_engine_holds_what_is_told_of_it_else_what_is_held_since(before, after, alone, found):
    assert engine_bytes(before, after, alone=alone) == found
