"""Getting one wheel with pip: the user's own pip settings say from where.

Nothing is installed and nothing from the wheel runs: pip is told to take a ready wheel or none,
without dependencies. Starting the program is a port, since only the neuron's process code spawns.
"""

import asyncio
import errno
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from helexa.model_runtime.models import disk, pip_download
from helexa.model_runtime.models.worker import Progress
from helexa.util.errors import SourceError
from helexa.util.tasks import TaskScope

TIMEOUT_S: Final = 3600.0
WHEEL_BYTES_MAX: Final = 64 << 30
_LOOK_EVERY_S: Final = 0.2
_NO_SPACE: Final = os.strerror(errno.ENOSPC)
_TAIL_LINES: Final = 3
_TAIL_CHARS: Final = 600


class RunProgram(Protocol):
    """Runs a program to its end: no shell, nothing on its input.

    It needs the user's own environment (pip reads its index, proxies and certificates from there),
    and is killed with all it started when `timeout_s` has passed or the caller is cancelled.
    """

    async def __call__(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
        """Return its exit status and the end of what it printed on both streams.

        Raises TimedOutError past `timeout_s`, and OSError when it cannot be started.
        """
        ...


@dataclass(frozen=True, slots=True)
class WheelWanted:
    """A wheel by its exact version; `size_bytes` where it is known beforehand."""

    package: str
    version: str
    size_bytes: int | None = None


class PipFetcher:
    """Downloads wheels with the pip of an interpreter."""

    def __init__(
        self, run_program: RunProgram, python: str = sys.executable, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._run_program = run_program
        self._python = python
        self._timeout_s = timeout_s

    async def fetch(self, wanted: WheelWanted, folder: Path, progress: Progress) -> Path:
        """Download a wheel into an empty folder and return its path.

        Raises SourceError: HX-0550 when pip cannot get it, HX-0551 when there is no pip,
        HX-0530 when the disk is full.
        """
        scratch, target = folder / "scratch", folder / "wheel"
        scratch.mkdir()
        target.mkdir()
        progress("download", 0, wanted.size_bytes)
        failures: list[BaseException] = []
        watch = TaskScope(lambda _name, error: failures.append(error))
        watch.start(_watch(folder, wanted.size_bytes, progress), "watch a download")
        try:
            status, tail = await self._run_program(
                self._argv(wanted, scratch, target), self._timeout_s
            )
        except OSError as error:
            raise _failed(wanted, f"{self._python} cannot be started: {error}") from error
        finally:
            await watch.close()
        if status == pip_download.NO_PIP:
            raise SourceError(
                f"{self._python} has no pip, which fetches wheels",
                error_id="HX-0551",
                hint=f"Run `{self._python} -m ensurepip`, or put the file into a model folder.",
            )
        if status != 0 and _NO_SPACE in tail:
            raise disk.disk_full(folder, wanted.size_bytes)
        if status != 0:
            raise _failed(wanted, f"pip ended with status {status}: {_last_lines(tail)}")
        wheels = list(target.glob("*.whl"))
        if len(wheels) != 1:
            raise _failed(wanted, f"pip left {len(wheels)} wheels")
        size = wheels[0].lstat().st_size
        progress("download", size, size)
        return wheels[0]

    def _argv(self, wanted: WheelWanted, scratch: Path, target: Path) -> tuple[str, ...]:
        limit_bytes = wanted.size_bytes or WHEEL_BYTES_MAX
        return (
            self._python,
            "-P",
            str(pip_download.__file__),
            str(scratch),
            # pip writes a little more than the wheel: its own notes beside it.
            str(limit_bytes + (1 << 20)),
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--no-cache-dir",
            "--no-input",
            "--progress-bar=off",
            "--disable-pip-version-check",
            f"--dest={target}",
            f"{wanted.package}=={wanted.version}",
        )


async def _watch(folder: Path, total_bytes: int | None, progress: Progress) -> None:
    """Tell how much has arrived, until cancelled."""
    while True:
        done = await asyncio.to_thread(disk.folder_bytes, folder)
        progress("download", done if total_bytes is None else min(done, total_bytes), total_bytes)
        await asyncio.sleep(_LOOK_EVERY_S)


def _failed(wanted: WheelWanted, reason: str) -> SourceError:
    return SourceError(
        f"cannot get {wanted.package}=={wanted.version}: {reason}",
        error_id="HX-0550",
        hint="Check the network and pip's own settings (`python -m pip config list`).",
    )


def _last_lines(tail: str) -> str:
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    return " | ".join(lines[-_TAIL_LINES:])[-_TAIL_CHARS:] or "it said nothing"
