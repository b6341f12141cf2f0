"""A small process between the neuron and one program; nothing of the program outlives the neuron.

Run as `python -I -S /abs/guard.py`; it imports the standard library only and nothing of helexa.

- fd 0 is the lifeline: first one line of JSON (what to run), then commands, one JSON line each.
  When it ends, the neuron is gone, whatever killed it, and everything here is ended too.
- fd 1 becomes the program's output and error output.
- fd 2 tells the neuron, one JSON line each: `started`, `refused`, `exited`.

The program gets a session and process group of its own, no new privileges, only the environment
that it is given, no open files but its standard ones, and dies with the guard. The guard adopts
orphans of the program (Linux: PR_SET_CHILD_SUBREAPER), so even a grandchild that left the group
is found and killed.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any, Final, NoReturn

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_CHILD_SUBREAPER: Final = 36
_LINE_BYTES_MAX: Final = 4 << 20
_ORPHAN_GRACE_S: Final = 1.0
_KILL_ROUNDS: Final = 100
_IS_LINUX: Final = sys.platform == "linux"


def prctl(option: int, value: int) -> None:
    """Set one attribute of this process; does nothing where there is no prctl."""
    if not _IS_LINUX:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def tell(**news: Any) -> None:
    """Tell the neuron; a neuron that is gone cannot be told."""
    with contextlib.suppress(OSError):
        os.write(2, json.dumps(news).encode() + b"\n")


class Lifeline:
    """Lines from the neuron on fd 0, read without blocking."""

    def __init__(self) -> None:
        self._held = b""
        self.ended = False

    def first_line(self) -> bytes:
        """Wait for the first whole line; b"" when the neuron is gone before that."""
        while b"\n" not in self._held and not self.ended:
            self._read()
        return self._take()

    def read(self) -> list[bytes]:
        """Read once what is there; return the lines that are complete."""
        self._read()
        return self.held()

    def held(self) -> list[bytes]:
        """Return the lines that were read already."""
        lines = []
        while b"\n" in self._held:
            lines.append(self._take())
        return lines

    def _read(self) -> None:
        data = os.read(0, 1 << 16)
        self.ended = not data or len(self._held) > _LINE_BYTES_MAX
        self._held += data

    def _take(self) -> bytes:
        line, _, self._held = self._held.partition(b"\n")
        return line


def become(order: dict[str, Any], report: int, parent: int) -> NoReturn:
    """In the child: give up everything that was inherited and become the program."""
    try:
        os.setsid()
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the guard died before the line above
            os._exit(1)
        for number in range(1, signal.NSIG):
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.umask(0o077)
        for name, wanted in order["limits"].items():
            limit_resource(getattr(resource, name), wanted)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(1, 2)
        os.chdir(order["folder"])
        os.dup2(report, 3)
        os.set_inheritable(3, False)  # noqa: FBT003  # the name of the function says what it is
        os.closerange(4, descriptors_max())
        report = 3
        os.execve(order["argv"][0], order["argv"], order["environment"])  # noqa: S606  # no shell
    except BaseException as error:  # noqa: BLE001  # whatever it is, the parent must be told
        number = (error.errno or 0) if isinstance(error, OSError) else 0
        os.write(report, json.dumps([number, f"{type(error).__name__}: {error}"]).encode())
    os._exit(127)


def limit_resource(kind: int, wanted: int) -> None:
    """Set a limit, but never above what this process may have."""
    _, hard = resource.getrlimit(kind)
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (value, value))


def descriptors_max() -> int:
    """Return one more than the highest file descriptor that can be open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


def spawn(order: dict[str, Any]) -> int:
    """Start the program; return its pid, or 0 after telling why it cannot be started."""
    read_end, write_end = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        become(order, write_end, parent)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as told:
        problem = told.read()
    if not problem:
        tell(event="started", pid=pid)
        return pid
    os.waitpid(pid, 0)
    number, text = json.loads(problem)
    tell(event="refused", errno=errno.errorcode.get(number, ""), because=text)
    return 0


def descendants() -> list[int]:
    """Return every process below this one; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):  # noqa: PTH208  # pathlib is slow to import
            if name.isdigit():
                children.setdefault(parent_of(int(name)), []).append(int(name))
    found: list[int] = []
    queue = [os.getpid()]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def parent_of(pid: int) -> int:
    """Return the parent of a process; -1 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123
            return int(stat.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return -1


def signal_group(pid: int, number: int) -> None:
    """Signal the program's whole group; one that is gone needs none."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def end_all(pid: int) -> None:
    """Kill the group and all that is below, until nothing is left to reap."""
    for _ in range(_KILL_ROUNDS):
        signal_group(pid, signal.SIGKILL)
        for other in descendants():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(other, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


class Guard:
    """Waits for the program to end, for a command, and for the end of the neuron."""

    def __init__(self, lifeline: Lifeline, pid: int, wake: int) -> None:
        self._lifeline = lifeline
        self._pid = pid
        self._wake = wake
        self._kill_at: float | None = None
        self._status: int | None = None

    def run(self) -> int:
        """Return the wait status of the program; nothing of it is alive then."""
        watched = [0, self._wake]
        # A command may have come with the order, in one piece.
        self._obey(self._lifeline.held())
        while self._status is None:
            wait_s = None
            if self._kill_at is not None:
                wait_s = max(0.0, self._kill_at - time.monotonic())
            readable, _, _ = select.select(watched, [], [], wait_s)
            if self._wake in readable:
                os.read(self._wake, 4096)
            if 0 in readable and self._listen():
                watched = [self._wake]
            self._reap()
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                signal_group(self._pid, signal.SIGKILL)
                self._kill_at += 0.05
        end_all(self._pid)
        return self._status

    def end(self, grace_s: float) -> None:
        """Ask the group to end; after `grace_s` it is killed. A shorter grace wins."""
        kill_at = time.monotonic() + max(0.0, grace_s)
        if self._kill_at is None and grace_s > 0:
            signal_group(self._pid, signal.SIGTERM)
        if self._kill_at is None or kill_at < self._kill_at:
            self._kill_at = kill_at

    def _listen(self) -> bool:
        """Take commands; return whether the lifeline is at its end."""
        self._obey(self._lifeline.read())
        if self._lifeline.ended:
            self.end(_ORPHAN_GRACE_S)
        return self._lifeline.ended

    def _obey(self, lines: list[bytes]) -> None:
        for line in lines:
            self.end(float(json.loads(line)["stop"]))

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._pid:
                    self._status = status


def main() -> int:
    """Run one program from an order on fd 0."""
    lifeline = Lifeline()
    line = lifeline.first_line()
    if not line:
        return 0
    order = json.loads(line)
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    pid = spawn(order)
    if pid == 0:
        return 127
    guard = Guard(lifeline, pid, wake_read)
    signal.signal(signal.SIGTERM, lambda *_: guard.end(_ORPHAN_GRACE_S))
    # Only the program writes to fd 1 from here on, so the pipe ends when the program does.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    tell(event="exited", status=guard.run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
