"""How a process ended, in words."""

import os
import signal
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExitDescription:
    """The end of a process: an exit status, or the signal that killed it."""

    status: int | None
    """Exit status, None when it was killed by a signal."""
    signal_name: str = ""
    """Such as SIGKILL; empty when it exited by itself."""
    asked: bool = False
    """We stopped it."""
    out_of_memory: bool = False
    """The kernel killed it for want of memory, as far as can be told."""

    @property
    def is_success(self) -> bool:
        """It ended by itself with status 0."""
        return self.status == 0

    @property
    def shell_status(self) -> int:
        """The status as a shell would tell it: 128 + the signal's number for a killed one."""
        if self.status is not None:
            return self.status
        known = signal.Signals.__members__.get(self.signal_name)
        return 128 + (known.value if known is not None else 0)

    def __str__(self) -> str:
        if self.asked:
            return "stopped"
        if not self.signal_name:
            return f"exited with status {self.status}"
        if self.out_of_memory:
            return f"killed by {self.signal_name}: the machine (or its cgroup) ran out of memory"
        hint = _HINTS.get(self.signal_name, "")
        return f"killed by {self.signal_name}{hint}"


_HINTS = {
    "SIGKILL": " (often the kernel, out of memory)",
    "SIGILL": " (built for a CPU with instructions that this one lacks)",
    "SIGABRT": " (it gave up by itself; see its last lines)",
    "SIGSEGV": " (a fault of the program)",
    "SIGBUS": " (a file that it maps was cut or its disk failed)",
}


def describe_exit(
    wait_status: int, *, asked: bool = False, out_of_memory: bool = False
) -> ExitDescription:
    """Tell a wait status of waitpid."""
    if os.WIFSIGNALED(wait_status):
        number = os.WTERMSIG(wait_status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        oom = out_of_memory and name == "SIGKILL"
        return ExitDescription(None, name, asked=asked, out_of_memory=oom)
    return ExitDescription(os.waitstatus_to_exitcode(wait_status), asked=asked)


GUARD_LOST = ExitDescription(None, "SIGKILL")
"""The guard itself was killed; the program died with it."""
