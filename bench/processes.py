"""Processes of a bench run: pinned to a core, watched from outside, ended for sure."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

MIB = 1024 * 1024
STOP_TIMEOUT_S = 10.0


def pinned(command: Sequence[str], core: int | None) -> list[str]:
    """Return the command, held to one core when one is given."""
    return list(command) if core is None else ["taskset", "-c", str(core), *command]


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _cpu_clock(process_id: int) -> int:
    """Return the id of a process's CPU-time clock, as clock_getcpuclockid(3) makes it.

    It counts nanoseconds over all threads, ended ones included, where utime and stime of
    /proc/PID/stat count the same in ticks of 10 ms.
    """
    per_process_scheduler_clock = 2
    return (~process_id << 3) | per_process_scheduler_clock


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)


class PinnedProcess:
    """A child process and its descendants on one core; its output goes to a log file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        core: int | None,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._log = log
        # Whoever ends a bench (`timeout`, CI) ends its processes with it: by the ways out it has.
        signal.signal(signal.SIGTERM, _leave)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                pinned(command, core),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=None if environment is None else {**os.environ, **environment},
                start_new_session=True,
            )

    @property
    def process_id(self) -> int:
        """The process id of the child itself."""
        return self._process.pid

    def is_running(self) -> bool:
        """Tell whether the child has not ended."""
        return self._process.poll() is None

    def _process_ids(self) -> list[int]:
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process_id).children(recursive=True)
            return [self.process_id, *(child.pid for child in children)]
        return []

    def busiest_process_id(self) -> int:
        """Return which of the child and its descendants has used the most CPU time."""
        return max(self._process_ids(), key=lambda pid: time.clock_gettime(_cpu_clock(pid)))

    def cpu_s(self) -> float:
        """CPU seconds the child and its living descendants have used so far."""
        total_s = 0.0
        for process_id in self._process_ids():
            with contextlib.suppress(OSError):
                total_s += time.clock_gettime(_cpu_clock(process_id))
        return total_s

    def rss_mib(self) -> float:
        """Resident memory of the child and its descendants."""
        total_bytes = 0
        for process_id in self._process_ids():
            with contextlib.suppress(psutil.NoSuchProcess):
                total_bytes += psutil.Process(process_id).memory_info().rss
        return total_bytes / MIB

    def log_tail(self, lines: int = 8) -> str:
        """Return the last lines the child wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End the child: politely, then by force, with all that it started."""
        if self.is_running():
            self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process_id, signal.SIGKILL)
        self._process.wait()


class Machine:
    """How busy the machine is in total: what else ran while we measured."""

    def __init__(self) -> None:
        self._tick_s = 1.0 / os.sysconf("SC_CLK_TCK")

    def busy_and_stolen_s(self) -> tuple[float, float]:
        """CPU seconds used by everything here, and those the hypervisor gave to others."""
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        user, nice, system, _idle, _waiting, hard, soft, stolen = map(int, fields[:8])
        return (user + nice + system + hard + soft) * self._tick_s, stolen * self._tick_s
