"""The hardware report of this machine, and how much of its memory models may use."""

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from helexa.neuron.hardware.cgroups import memory_limit_bytes, memory_used_bytes
from helexa.neuron.hardware.gpus import amd_devices, nvidia_devices
from helexa.protocol.neuron import Device, HardwareReport

RESERVE_BYTES: Final = 1 << 30
RESERVE_SHARE: Final = 0.1
"""Kept for the system: a tenth of memory, at most 1 GiB on small machines."""
FEATURES_TOLD: Final = frozenset((
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni",
    "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "asimddp", "i8mm", "sve", "sve2", "bf16",
))  # fmt: skip
"""CPU features that decide which engine build runs, and how fast."""


def read_hardware(
    root: Path = Path("/"),
    nvidia: Callable[[], tuple[Device, ...]] = nvidia_devices,
) -> HardwareReport:
    """Read the machine: blocks for some milliseconds (longer with many GPUs).

    Memory is the machine's or, where it is lower, what the control group allows.
    """
    memory = psutil.virtual_memory()
    total, available = int(memory.total), int(memory.available)
    limit = memory_limit_bytes(root)
    if limit is not None and limit < total:
        used = memory_used_bytes(root) or 0
        total, available = limit, min(available, max(0, limit - used))
    amd = amd_devices(root)
    nvidia_found = nvidia()
    return HardwareReport(
        cpu_count=cpu_count(),
        cpu_features=cpu_features(root),
        memory_total_bytes=total,
        memory_available_bytes=available,
        devices=(*nvidia_found, *amd),
        os=platform.system().lower(),
        arch=platform.machine(),
    )


def cpu_count() -> int:
    """Return the CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def physical_cores() -> int:
    """Return the cores that engine threads are worth: no more than `cpu_count`."""
    return max(1, min(psutil.cpu_count(logical=False) or 1, cpu_count()))


def cpu_features(root: Path = Path("/")) -> tuple[str, ...]:
    """Return which of FEATURES_TOLD the CPU has, sorted, spelled as in /proc/cpuinfo."""
    try:
        text = (root / "proc/cpuinfo").read_text()
    except OSError:
        return ()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return tuple(sorted(FEATURES_TOLD & set(value.split())))
    return ()


def memory_budget_bytes(hardware: HardwareReport, configured: int | None) -> int:
    """Return what models may use together: as configured, never more than the hardware has.

    By default the GPUs' memory where there are GPUs, else the machine's, less a reserve.
    """
    on_devices = sum(device.memory_total_bytes for device in hardware.devices)
    total = on_devices or hardware.memory_total_bytes
    if configured is not None:
        return min(configured, on_devices + hardware.memory_total_bytes)
    return total - min(RESERVE_BYTES, int(total * RESERVE_SHARE))
