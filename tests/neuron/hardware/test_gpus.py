"""GPUs, from a made-up driver library and made-up driver files."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from helexa.neuron.hardware.gpus import (
    GpuReading,
    amd_devices,
    amd_readings,
    nvidia_devices,
    nvidia_readings,
    read_gpus,
)

GIB = 1 << 30


class FakeNvml:
    """Stands for pynvml: three GPUs, of which one fell off the bus."""

    class NVMLError(Exception):
        pass

    NVML_TEMPERATURE_GPU = 0

    def __init__(self, *, driver: bool = True, sensors: bool = True) -> None:
        self.driver = driver
        self.sensors = sensors
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

    def nvmlSystemGetDriverVersion(self):  # noqa: N802
        return b"570.1"

    def nvmlDeviceGetUUID(self, handle):  # noqa: N802
        return self._sensed(f"GPU-{handle}")

    def nvmlDeviceGetUtilizationRates(self, handle):  # noqa: N802
        return self._sensed(SimpleNamespace(gpu=40 + handle, memory=3))

    def nvmlDeviceGetPowerUsage(self, handle):  # noqa: N802
        return self._sensed(72_500)

    def nvmlDeviceGetTemperature(self, handle, sensor):  # noqa: N802
        return self._sensed(55 + sensor)

    def _sensed(self, value):
        if not self.sensors:
            raise self.NVMLError("Not Supported")
        return value


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
    def make(name: str, sensors: dict[str, str] | None = None, **files: str) -> None:
        device = tmp_path / "sys/class/drm" / name / "device"
        (device / "hwmon/hwmon7").mkdir(parents=True)
        for file, text in files.items():
            (device / file).write_text(text + "\n")
        for file, text in (sensors or {}).items():
            (device / "hwmon/hwmon7" / file).write_text(text + "\n")

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
    assert amd_devices(tmp_path) == amd_readings(tmp_path) == ()


def test_what_a_gpu_does_is_read_with_its_units():
    nvml = FakeNvml()
    first, third = nvidia_readings(lambda: nvml)
    assert first == GpuReading(
        gpu="nvidia0", vendor="nvidia", name="NVIDIA L40", uuid="GPU-0", driver="570.1",
        memory_total_bytes=24 * GIB, memory_used_bytes=4 * GIB, utilization_ratio=0.4,
        power_watts=72.5, temperature_celsius=55.0,
    )  # fmt: skip
    assert (third.gpu, third.utilization_ratio) == ("nvidia2", 0.42)
    assert nvml.open == 0


def test_what_a_driver_does_not_tell_is_missing_and_the_rest_is_there():
    first, _ = nvidia_readings(lambda: FakeNvml(sensors=False))
    assert (first.uuid, first.memory_used_bytes) == ("", 4 * GIB)
    assert (first.utilization_ratio, first.power_watts, first.temperature_celsius) == (None,) * 3
    assert nvidia_readings(absent) == nvidia_readings(lambda: FakeNvml(driver=False)) == ()


def test_what_an_amd_gpu_does_is_read_from_its_files(card, tmp_path):
    amd = {"vendor": "0x1002", "mem_info_vram_total": str(16 * GIB)}
    old = {"power1_average": "31000000", "temp1_input": "47000"}
    card("card0", old, **amd, mem_info_vram_used=str(GIB), gpu_busy_percent="12", unique_id="ab")
    card("card1", {"power1_input": "9500000"}, **amd, mem_info_vram_used="0", product_name="W")
    first, second = amd_readings(tmp_path)
    assert first == GpuReading(
        gpu="amd0", vendor="amd", name="AMD ", uuid="ab", driver="", memory_used_bytes=GIB,
        memory_total_bytes=16 * GIB, utilization_ratio=0.12, power_watts=31.0,
        temperature_celsius=47.0,
    )  # fmt: skip
    assert (second.gpu, second.power_watts, second.temperature_celsius) == ("amd1", 9.5, None)
    assert second.utilization_ratio is None


def test_the_gpus_of_this_machine_are_read_without_harm():
    for reading in read_gpus():
        assert 0 <= reading.memory_used_bytes <= reading.memory_total_bytes
