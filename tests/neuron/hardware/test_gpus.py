"""GPUs, from a made-up driver library and made-up driver files."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from helexa.neuron.hardware.gpus import amd_devices, nvidia_devices

GIB = 1 << 30


class FakeNvml:
    """Stands for pynvml: three GPUs, of which one fell off the bus."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, driver: bool = True) -> None:
        self.driver = driver
        self.open = 0

    def nvmlInit(self):  # noqa: N802
        if not self.driver:
            raise self.NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self):  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self):  # noqa: N802
        return 3

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        if index == 1:
            raise self.NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return SimpleNamespace(total=24 * GIB, free=(20 - handle) * GIB)

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return b"NVIDIA L4" if handle else "NVIDIA L40"


def absent():
    raise ImportError("no pynvml")


def test_gpus_are_read_and_a_lost_one_does_not_hide_the_others():
    nvml = FakeNvml()
    first, third = nvidia_devices(lambda: nvml)
    assert (first.index, first.vendor, first.name) == (0, "nvidia", "NVIDIA L40")
    assert (third.index, third.name, third.memory_free_bytes) == (2, "NVIDIA L4", 18 * GIB)
    assert nvml.open == 0


def test_a_machine_without_library_or_driver_has_no_gpu():
    assert nvidia_devices(absent) == ()
    assert nvidia_devices(lambda: FakeNvml(driver=False)) == ()


def test_the_real_library_is_asked_without_harm():
    for device in nvidia_devices():
        assert 0 < device.memory_free_bytes <= device.memory_total_bytes


@pytest.fixture
def card(tmp_path: Path):
    def make(name: str, **files: str) -> None:
        device = tmp_path / "sys/class/drm" / name / "device"
        device.mkdir(parents=True)
        for file, text in files.items():
            (device / file).write_text(text + "\n")

    return make


def test_amd_gpus_are_read_in_the_order_of_their_cards(card, tmp_path):
    amd = {"vendor": "0x1002", "mem_info_vram_total": str(16 * GIB)}
    card("card10", **amd, mem_info_vram_used=str(GIB), device="0x744c")
    card("card2", **amd, mem_info_vram_used="0", product_name="Radeon PRO W7900")
    card("card2-DP-1", **amd, mem_info_vram_used="0")
    card("card0", vendor="0x8086")
    card("card3", vendor="0x1002", mem_info_vram_total="garbage", mem_info_vram_used="0")
    first, second = amd_devices(tmp_path)
    assert (first.index, first.name, first.memory_free_bytes) == (0, "Radeon PRO W7900", 16 * GIB)
    assert (second.index, second.name, second.memory_free_bytes) == (1, "AMD 0x744c", 15 * GIB)


def test_a_machine_without_amd_gpus_has_none(tmp_path):
    assert amd_devices(tmp_path) == ()
