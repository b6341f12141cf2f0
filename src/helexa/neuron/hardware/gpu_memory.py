"""What engines hold of the memory of GPUs: by process where drivers tell, else by difference.

NVIDIA's library tells it for each process, but not on every machine: in a container its process
ids are those of the host, on MIG and WSL the sizes are missing or not for everyone to see. AMD's
kernel driver tells it in the files of each open device (`drm-memory-vram`, as the kernel's "DRM
client usage stats" have it). Where neither does, what all GPUs hold more than before the load
is the engine's, if nothing else was loaded or ended meanwhile.
"""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from helexa.neuron.hardware.gpus import amd_devices, load_nvml, nvidia_devices, nvml_session, told

INITIAL_NAMESPACE: Final = "pid:[4026531836]"
"""Of process ids: `PROC_PID_INIT_INO` of the Linux kernel."""
_KIB: Final = 1 << 10


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """All GPUs of this machine together, at one moment."""

    used_bytes: int
    """By anyone."""
    held_bytes: int | None
    """By the processes that were asked about; None where that is not told of each of them."""


def read_gpu_memory(
    pids: Collection[int], load: Callable[[], Any] = load_nvml, root: Path = Path("/")
) -> GpuMemory | None:
    """Return what GPUs hold, and what of it these processes do; None without a GPU. May block."""
    devices = (*nvidia_devices(load), *amd_devices(root))
    if not devices:
        return None
    used = sum(each.memory_total_bytes - each.memory_free_bytes for each in devices)
    held = [_nvidia_bytes(pids, load, root), _amd_bytes(pids, root)]
    found = [each for each in held if each is not None]
    return GpuMemory(used, sum(found) if found else None)


def engine_bytes(before: GpuMemory | None, after: GpuMemory | None, *, alone: bool) -> int | None:
    """Return what an engine holds; None where it cannot be told.

    `before` was read before it began to load; `alone`: no other one began or ended since.
    """
    if after is None:
        return None
    if after.held_bytes is not None:
        return after.held_bytes
    if before is None or not alone or after.used_bytes <= before.used_bytes:
        return None
    return after.used_bytes - before.used_bytes


def _nvidia_bytes(pids: Collection[int], load: Callable[[], Any], root: Path) -> int | None:
    """Return what NVIDIA's GPUs hold for these processes; None where they do not tell it all."""
    if not _has_the_hosts_ids(root):
        return None
    found: list[int] = []
    with nvml_session(load) as nvml:
        count = nvml.nvmlDeviceGetCount() if nvml is not None else 0
        for index in range(count):
            handle = told(nvml, nvml.nvmlDeviceGetHandleByIndex, index)
            if handle is None:
                continue  # it fell off the bus
            computing = told(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle)
            if computing is None:
                return None
            # Who computes by Vulkan is in the other list, and some are in both.
            drawing = told(nvml, nvml.nvmlDeviceGetGraphicsRunningProcesses, handle) or ()
            sizes: dict[int, int] = {}
            for process in (*computing, *drawing):
                if process.pid in pids:
                    if process.usedGpuMemory is None:
                        return None
                    sizes[process.pid] = max(sizes.get(process.pid, 0), process.usedGpuMemory)
            found += sizes.values()
    return sum(found) if found else None


def _has_the_hosts_ids(root: Path) -> bool:
    """Tell whether our process ids are the driver's; in a container another's would be taken."""
    try:
        return str((root / "proc/self/ns/pid").readlink()) == INITIAL_NAMESPACE
    except OSError:
        return True  # no Linux, no namespaces


def _amd_bytes(pids: Collection[int], root: Path) -> int | None:
    """Return what AMD's GPUs hold for these processes; None where no open device tells it."""
    clients: dict[tuple[str, str], int] = {}
    for pid in pids:
        with suppress(OSError):
            for file in (root / "proc" / str(pid) / "fdinfo").iterdir():
                with suppress(OSError, ValueError):
                    _add_client(file.read_text(), clients)
    return sum(clients.values()) if clients else None


def _add_client(text: str, clients: dict[tuple[str, str], int]) -> None:
    """Note one open device; what is opened twice has one client id, and counts once."""
    lines = (line.partition(":") for line in text.splitlines())
    fields = {name: value.strip() for name, _, value in lines}
    size = fields.get("drm-memory-vram")
    if size is None or fields.get("drm-driver") != "amdgpu":
        return
    number, _, unit = size.partition(" ")
    scale = {"": 1, "KiB": _KIB, "MiB": _KIB**2}.get(unit)
    if scale is not None:
        key = (fields.get("drm-pdev", ""), fields.get("drm-client-id", ""))
        clients[key] = max(clients.get(key, 0), int(number) * scale)
