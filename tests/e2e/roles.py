"""A cortex or a neuron as a real process: started, stopped, killed, paused, and its log."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.e2e.polling import wait_until

ROOT = Path(__file__).parent.parent.parent
LOG_TAIL_BYTES = 1 << 20
LOG_TAIL_LINES = 40
STOP_WITHIN_S = 20.0
BAD_WORDS = ("Traceback (most recent call last)", "was never awaited", "Task was destroyed",
             "exception was never retrieved", "ResourceWarning")  # fmt: skip
"""What no log of ours ever holds, whatever was done to the process."""


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without settings of helexa."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HELEXA_")}
    path = os.pathsep.join(filter(None, (str(ROOT / "src"), kept.get("PYTHONPATH", ""))))
    return {**kept, "PYTHONPATH": path, **(more or {})}


class Role:
    """One process of the product, and everything it ever printed."""

    def __init__(self, name: str, arguments: Sequence[str], folder: Path) -> None:
        self.name = name
        self.arguments = [sys.executable, "-m", "helexa", *arguments]
        self.folder = folder
        self.log_path = folder / f"{name}.log"
        self.statuses: list[int] = []
        """Exit statuses of the runs that ended."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, more_environment: Mapping[str, str] | None = None) -> None:
        assert not self.runs, f"{self.name} runs already"
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.arguments,
                cwd=self.folder,
                env=environment(more_environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def assert_runs(self) -> None:
        if not self.runs:
            raise AssertionError(f"{self.name} ended by itself\n{self.log_tail()}")

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9, and nothing is cleaned up by it."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self, within_s: float = STOP_WITHIN_S) -> int:
        """Return the exit status, once it ended."""
        assert self._process is not None
        try:
            status = self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(
                f"{self.name} did not end within {within_s:g} s\n{self.log_tail()}"
            ) from None
        self.statuses.append(status)
        self._process = None
        return status

    def stop(self, within_s: float = STOP_WITHIN_S) -> None:
        """SIGTERM; it must end by itself, with status 0."""
        self.signal(signal.SIGTERM)
        status = self.wait(within_s)
        assert status == 0, f"{self.name} ended with {status} on SIGTERM\n{self.log_tail()}"

    # ── what it left to read ──────────────────────────────────────────────────────────────────

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self) -> str:
        if not self.log_path.exists():
            return f"── {self.name}: no log ──"
        with self.log_path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - LOG_TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        told = [line for line in lines if " outcome=ok " not in line][-LOG_TAIL_LINES:]
        return "\n".join([f"── {self.name}, last lines but of requests that went well ──", *told])

    def assert_clean_log(self) -> None:
        """R0.38: no traceback, and no other word of a fault of ours."""
        log = self.log()
        found = [word for word in BAD_WORDS if word in log]
        assert not found, f"{self.name} logged {found}\n{self.log_tail()}"


# ── the processes that belong to a stack ──────────────────────────────────────────────────────


def descendants(pid: int) -> list[psutil.Process]:
    """Return all children of a process, theirs included; none of a process that is gone."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def engines_of(pid: int) -> list[int]:
    """Return the processes that a neuron's guards started, oldest first."""
    found = []
    for child in descendants(pid):
        try:
            guard = child.parent()
            if guard is not None and any("guard" in part for part in guard.cmdline()):
                found.append((child.create_time(), child.pid))
        except psutil.NoSuchProcess:
            continue
    return [pid for _, pid in sorted(found)]


def touching(folder: Path) -> list[str]:
    """Return every process whose command line, environment or working folder names `folder`."""
    return [f"{each.pid}: {' '.join(each.cmdline())[:300]}" for each in processes_of(folder)]


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the same as processes."""
    needle = str(folder)
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            traces = [*process.cmdline(), *process.environ().values(), process.cwd()]
        except (psutil.Error, OSError):
            continue
        if any(needle in trace for trace in traces):
            found.append(process)
    return found


def is_alive(process: psutil.Process) -> bool:
    """Tell whether this very process (not another one with its number) still runs."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_gone(processes: Sequence[psutil.Process], within_s: float) -> None:
    """Wait until all of them are gone."""

    def left() -> list[str]:
        return [str(process) for process in processes if is_alive(process)]

    wait_until(lambda: not left(), f"every process gone; left: {left()}", within_s)
