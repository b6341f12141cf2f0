"""The machine's process table, read from /proc. Where there is no /proc, it is empty.

A pid alone names nothing: it is given out again. A process is named by its pid, the boot and its
start time within that boot.
"""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessEntry:
    """One process. `start_ticks` is its start in clock ticks since boot."""

    pid: int
    parent: int
    group: int
    session: int
    start_ticks: int
    is_zombie: bool


def boot_id(proc: Path = PROC) -> str:
    """Return the id of this boot; "" where the system tells none."""
    try:
        return (proc / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def entry(pid: int, proc: Path = PROC) -> ProcessEntry | None:
    """Return a process; None when it is gone or cannot be read."""
    try:
        text = (proc / str(pid) / "stat").read_bytes().decode("ascii", "replace")
        # The name, in parentheses, may hold anything; fields are counted after it.
        fields = text.rpartition(")")[2].split()
        return ProcessEntry(
            pid=pid,
            parent=int(fields[1]),
            group=int(fields[2]),
            session=int(fields[3]),
            start_ticks=int(fields[19]),
            is_zombie=fields[0] in {"Z", "X"},
        )
    except (OSError, ValueError, IndexError):
        return None


def entries(proc: Path = PROC) -> list[ProcessEntry]:
    """Return every process that can be read."""
    try:
        pids = [int(name) for name in os.listdir(proc) if name.isdigit()]  # noqa: PTH208  # bare names
    except OSError:
        return []
    found = (entry(pid, proc) for pid in sorted(pids))
    return [one for one in found if one is not None]


def has_environment(pid: int, setting: str, proc: Path = PROC) -> bool:
    """Tell whether a process was started with `NAME=value` in its environment."""
    try:
        block = (proc / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return setting.encode() in block.split(b"\0")


def resident_bytes(pids: list[int], proc: Path = PROC) -> int | None:
    """Return the memory that these processes hold, shared pages counted once where that is told.

    None where no process can be read.
    """
    total: int | None = None
    for pid in pids:
        size = _proportional(pid, proc)
        if size is not None:
            total = (total or 0) + size
    return total


def _proportional(pid: int, proc: Path) -> int | None:
    for name, field in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            for line in (proc / str(pid) / name).read_text().splitlines():
                if line.startswith(field):
                    return int(line.split()[1]) << 10
        except (OSError, ValueError, IndexError):
            continue
    return None


def members(group: int, proc: Path = PROC) -> list[int]:
    """Return the pids of a session and of all that descend from it."""
    table = entries(proc)
    found = {one.pid for one in table if one.session == group}
    grown = True
    while grown:
        below = {one.pid for one in table if one.parent in found} - found
        grown = bool(below)
        found |= below
    return sorted(found)


def oom_kills(proc: Path = PROC) -> int:
    """Return how many processes the kernel has killed for want of memory since boot."""
    try:
        for line in (proc / "vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return 0


def kill(pid: int) -> None:
    """SIGKILL one process; one that is gone needs none."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
