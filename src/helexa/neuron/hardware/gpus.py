"""GPUs: NVIDIA by its management library, AMD by sysfs. A machine without either has none."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helexa.protocol.neuron import Device
from helexa.util import logging

_log = logging.get("hardware")
_AMD = "0x1002"


@dataclass(frozen=True, slots=True)
class GpuReading:
    """What a GPU is and does at the moment; None where its driver does not tell."""

    gpu: str
    """Its vendor and number, such as nvidia0."""
    vendor: str
    name: str
    uuid: str
    driver: str
    memory_total_bytes: int
    memory_used_bytes: int
    utilization_ratio: float | None
    power_watts: float | None
    temperature_celsius: float | None


def load_nvml() -> Any:
    """Return the NVML binding; raises ImportError where it is not installed."""
    return importlib.import_module("pynvml")


@contextmanager
def nvml_session(load: Callable[[], Any]) -> Iterator[Any]:
    """Give the library, ready to be asked; None where there is no driver or no library."""
    try:
        nvml = load()
    except ImportError:
        yield None
        return
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        _log.debug("no NVIDIA driver", error=str(error))
        yield None
        return
    try:
        yield nvml
    except nvml.NVMLError as error:
        _log.warning("NVIDIA GPUs cannot be read", error=str(error))
    finally:
        nvml.nvmlShutdown()


def nvidia_devices(load: Callable[[], Any] = load_nvml) -> tuple[Device, ...]:
    """Return NVIDIA's GPUs; none where there is no driver or no library."""
    devices: tuple[Device | None, ...] = ()
    with nvml_session(load) as nvml:
        if nvml is not None:
            devices = tuple(_nvidia_device(nvml, n) for n in range(nvml.nvmlDeviceGetCount()))
    return tuple(device for device in devices if device is not None)


def _nvidia_device(nvml: Any, index: int) -> Device | None:
    """Return one GPU; None for one that does not answer (it fell off the bus, say)."""
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        name = nvml.nvmlDeviceGetName(handle)
    except nvml.NVMLError as error:
        _log.warning("an NVIDIA GPU does not answer", index=index, error=str(error))
        return None
    return Device(
        index=index,
        vendor="nvidia",
        name=_string(name),
        memory_total_bytes=int(memory.total),
        memory_free_bytes=int(memory.free),
    )


def nvidia_readings(load: Callable[[], Any] = load_nvml) -> tuple[GpuReading, ...]:
    """Return what NVIDIA's GPUs do; may block for as long as the driver takes to answer."""
    found: list[GpuReading] = []
    with nvml_session(load) as nvml:
        if nvml is not None:
            driver = told(nvml, nvml.nvmlSystemGetDriverVersion)
            for index in range(nvml.nvmlDeviceGetCount()):
                reading = _nvidia_reading(nvml, index, _string(driver))
                if reading is not None:
                    found.append(reading)
    return tuple(found)


def _nvidia_reading(nvml: Any, index: int, driver: str) -> GpuReading | None:
    device = _nvidia_device(nvml, index)
    if device is None:
        return None
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    busy = told(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
    return GpuReading(
        gpu=f"nvidia{index}",
        vendor="nvidia",
        name=device.name,
        uuid=_string(told(nvml, nvml.nvmlDeviceGetUUID, handle)),
        driver=driver,
        memory_total_bytes=device.memory_total_bytes,
        memory_used_bytes=device.memory_total_bytes - device.memory_free_bytes,
        utilization_ratio=None if busy is None else busy.gpu / 100,
        power_watts=_scaled(told(nvml, nvml.nvmlDeviceGetPowerUsage, handle), 1e3),
        temperature_celsius=_scaled(
            told(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU), 1
        ),
    )


def told(nvml: Any, ask: Callable[..., Any], *arguments: Any) -> Any:
    """Return the library's answer; None where this GPU or driver does not know."""
    try:
        return ask(*arguments)
    except nvml.NVMLError:
        return None


def _string(answer: Any) -> str:
    if answer is None:
        return ""
    return answer.decode() if isinstance(answer, bytes) else str(answer)


def _scaled(value: int | None, unit: float) -> float | None:
    return None if value is None else value / unit


def amd_devices(root: Path = Path("/")) -> tuple[Device, ...]:
    """Return AMD's GPUs by the kernel driver's files below `root`."""
    return tuple(
        Device(
            index=index,
            vendor="amd",
            name=_amd_name(folder),
            memory_total_bytes=total,
            memory_free_bytes=max(0, total - used),
        )
        for index, (folder, total, used) in enumerate(_amd_folders(root))
    )


def amd_readings(root: Path = Path("/")) -> tuple[GpuReading, ...]:
    """Return what AMD's GPUs do, by the kernel driver's files below `root`."""
    driver = _text(root / "sys/module/amdgpu/version")
    found = []
    for index, (folder, total, used) in enumerate(_amd_folders(root)):
        sensors = next(iter(sorted((folder / "hwmon").glob("hwmon*"))), folder / "hwmon")
        # Older chips tell the mean power, newer ones that of the moment; both in microwatts.
        power = _integer(sensors / "power1_average")
        if power is None:
            power = _integer(sensors / "power1_input")
        found.append(
            GpuReading(
                gpu=f"amd{index}",
                vendor="amd",
                name=_amd_name(folder),
                uuid=_text(folder / "unique_id"),
                driver=driver,
                memory_total_bytes=total,
                memory_used_bytes=used,
                utilization_ratio=_scaled(_integer(folder / "gpu_busy_percent"), 100),
                power_watts=_scaled(power, 1e6),
                temperature_celsius=_scaled(_integer(sensors / "temp1_input"), 1e3),
            )
        )
    return tuple(found)


def read_gpus() -> tuple[GpuReading, ...]:
    """Return what all GPUs of this machine do; may block."""
    return (*nvidia_readings(), *amd_readings())


def _amd_folders(root: Path) -> Iterator[tuple[Path, int, int]]:
    """Yield the folder of each AMD GPU, its memory and what of it is used, in bytes."""
    for card in sorted((root / "sys/class/drm").glob("card[0-9]*"), key=_number):
        folder = card / "device"
        if "-" in card.name or _text(folder / "vendor") != _AMD:
            continue
        total = _integer(folder / "mem_info_vram_total")
        used = _integer(folder / "mem_info_vram_used")
        if total is not None and used is not None:
            yield folder, total, used


def _amd_name(folder: Path) -> str:
    return _text(folder / "product_name") or f"AMD {_text(folder / 'device')}"


def _number(card: Path) -> int:
    digits = card.name.removeprefix("card").partition("-")[0]
    return int(digits) if digits.isdigit() else 0


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _integer(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None
