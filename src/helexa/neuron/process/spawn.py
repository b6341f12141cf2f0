"""Starting engines and programs: the neuron's only way to run anything."""

import asyncio
import json
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from helexa.model_runtime.interfaces import LaunchPlan
from helexa.neuron.process import table
from helexa.neuron.process.environment import engine_environment
from helexa.neuron.process.exits import GUARD_LOST, ExitDescription
from helexa.neuron.process.guarded import GUARD_PATH, GuardedProcess, StartError
from helexa.neuron.process.output import OutputRing
from helexa.neuron.process.records import Orphan, RunRecords
from helexa.util.clock import Clock, SystemClock
from helexa.util.errors import TimedOutError

PROGRAM_TAIL_LINES: Final = 40
FILES_MAX: Final = 65536
_LIMITS: Final = {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": FILES_MAX}


class EngineProcess:
    """One running engine. It has ended for sure only after `wait` or `stop` returned."""

    def __init__(
        self, guarded: GuardedProcess, name: str, started_at: float, records: RunRecords, mark: str
    ) -> None:
        self.name = name
        self.pid = guarded.pid
        self.group = guarded.pid
        self.started_at = started_at
        """Seconds of the monotonic clock."""
        self._guarded = guarded
        self._records = records
        self._mark = mark

    @property
    def output(self) -> OutputRing:
        """What it printed last, both of its outputs together."""
        return self._guarded.output

    @property
    def has_ended(self) -> bool:
        """It is gone and reaped."""
        return self._guarded.has_ended

    def pids(self) -> list[int]:
        """Return the engine and all its children; may block."""
        return table.members(self.group)

    def memory_bytes(self) -> int | None:
        """Return the memory of the engine and all its children; None where it cannot be told."""
        return table.resident_bytes(table.members(self.group))

    async def wait(self) -> ExitDescription:
        """Wait until the engine is gone, with all its children; return how it ended."""
        return self._ended(await self._guarded.wait())

    async def stop(self, grace_s: float) -> ExitDescription:
        """SIGTERM to the group, `grace_s` later SIGKILL; return when all of it is gone."""
        return self._ended(await self._guarded.stop(grace_s))

    def _ended(self, ended: ExitDescription) -> ExitDescription:
        if ended is GUARD_LOST:
            self._records.kill_left(self._mark)
        self._records.remove(self._mark)
        return ended


class Spawner:
    """Starts engines and programs under guards.

    `state_folder` (private) holds run records and the engines' home. `python` runs the guard.
    `program_environment` is what programs such as pip get; engines never see it.
    """

    def __init__(
        self,
        state_folder: Path,
        python: str,
        *,
        program_environment: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._home = state_folder / "engine-home"
        self._records = RunRecords(state_folder / "running")
        self._python = python
        self._program_environment = dict(program_environment or {})
        self._clock = clock or SystemClock()

    async def start(self, plan: LaunchPlan, name: str) -> EngineProcess:
        """Start an engine; returns when it runs (not when it serves).

        Raises StartError, or ConfigError where the plan's environment breaks rule R4. Cancelling
        ends the engine.
        """
        mark = secrets.token_hex(12)
        environment = engine_environment(self._home, plan.environment, mark)
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        guarded = await self._run(plan.argv, environment, self._home)
        self._records.write(name, guarded.pid, mark)
        return EngineProcess(guarded, name, self._clock.monotonic(), self._records, mark)

    def reap_orphans(self) -> list[Orphan]:
        """Kill what dead neurons left on this machine; return what was found alive."""
        return self._records.reap()

    async def run_program(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
        """Run a program to its end; return its exit status and the last lines that it printed.

        The status is 128 + N for one that signal N killed. Raises StartError (an OSError), and
        TimedOutError when `timeout_s` ran out. Cancelling ends the program.
        """
        with tempfile.TemporaryDirectory(prefix="helexa-") as folder:
            environment = {"HOME": folder, **self._program_environment}
            guarded = await self._run(argv, environment, Path(folder))
            try:
                async with asyncio.timeout(timeout_s):
                    ended = await guarded.wait()
            except TimeoutError:
                await guarded.stop(1.0)
                raise TimedOutError(
                    f"{argv[0]} did not end within {timeout_s:g} s", error_id="HX-2304"
                ) from None
            except asyncio.CancelledError:
                await guarded.stop(0.0)
                raise
        return ended.shell_status, "\n".join(guarded.output.tail(PROGRAM_TAIL_LINES))

    async def start_service(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        output: OutputRing | None = None,
    ) -> GuardedProcess:
        """Start a program of our own that goes on, such as a whole cortex; raises StartError.

        It ends with this process, whatever ends that. `output` takes what it prints.
        """
        return await self._run(argv, environment, folder, output)

    async def _run(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        output: OutputRing | None = None,
    ) -> GuardedProcess:
        if not argv or not Path(argv[0]).is_absolute():
            raise StartError(f"argv {argv[:1]} does not begin with an absolute path")
        order = {
            "argv": list(argv),
            "environment": dict(environment),
            "folder": str(folder),
            "limits": _LIMITS,
        }
        loop = asyncio.get_running_loop()
        try:
            _, guarded = await loop.subprocess_exec(
                lambda: GuardedProcess(output),
                self._python,
                *("-I", "-S", str(GUARD_PATH)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise StartError(f"{self._python} cannot be run: {error}") from error
        try:
            await guarded.begin(json.dumps(order).encode() + b"\n")
        except BaseException:  # also when cancelled: nothing may be left running
            await guarded.stop(0.0)
            raise
        return guarded
