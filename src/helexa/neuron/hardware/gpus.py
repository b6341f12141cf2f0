"""GPUs: NVIDIA by its management library, AMD by sysfs. A machine without either has none."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helexa.protocol.neuron import Device
from helexa.util import logging

_log = logging.get("hardware")
_AMD = "0x1002"


def load_nvml() -> Any:
    """Return the NVML binding; raises ImportError where it is not installed."""
    return importlib.import_module("pynvml")


def nvidia_devices(load: Callable[[], Any] = load_nvml) -> tuple[Device, ...]:
    """Return NVIDIA's GPUs; none where there is no driver or no library."""
    try:
        nvml = load()
    except ImportError:
        return ()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        _log.debug("no NVIDIA driver", error=str(error))
        return ()
    try:
        devices = []
        for index in range(nvml.nvmlDeviceGetCount()):
            device = _nvidia_device(nvml, index)
            if device is not None:
                devices.append(device)
        return tuple(devices)
    except nvml.NVMLError as error:
        _log.warning("NVIDIA GPUs cannot be read", error=str(error))
        return ()
    finally:
        nvml.nvmlShutdown()


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
        name=name.decode() if isinstance(name, bytes) else str(name),
        memory_total_bytes=int(memory.total),
        memory_free_bytes=int(memory.free),
    )


def amd_devices(root: Path = Path("/")) -> tuple[Device, ...]:
    """Return AMD's GPUs by the kernel driver's files below `root`."""
    found: list[Device] = []
    for card in sorted((root / "sys/class/drm").glob("card[0-9]*"), key=_number):
        device = card / "device"
        if "-" in card.name or _text(device / "vendor") != _AMD:
            continue
        total = _bytes(device / "mem_info_vram_total")
        used = _bytes(device / "mem_info_vram_used")
        if total is None or used is None:
            continue
        found.append(
            Device(
                index=len(found),
                vendor="amd",
                name=_text(device / "product_name") or f"AMD {_text(device / 'device')}",
                memory_total_bytes=total,
                memory_free_bytes=max(0, total - used),
            )
        )
    return tuple(found)


def _number(card: Path) -> int:
    digits = card.name.removeprefix("card").partition("-")[0]
    return int(digits) if digits.isdigit() else 0


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _bytes(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None
