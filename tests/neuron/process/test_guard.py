"""The guard alone, with real processes: what it runs never outlives whoever started it."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helexa.neuron.process import table
from helexa.neuron.process.guarded import GUARD_PATH
from tests.fakes.waiting import until_blocking

# An engine with a child in its group and one that left for a session of its own; all ignore
# SIGTERM, and tell their pids on the first line.
FAMILY = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pids = [os.getpid()]
for leaves in (False, True):
    pid = os.fork()
    if pid == 0:
        if leaves:
            os.setsid()
        while True: time.sleep(60)
    pids.append(pid)
print(*pids, flush=True)
while True: time.sleep(60)
"""

# Stands for a neuron: starts the guard, hands over the order, prints what the guard says.
PARENT = """
import subprocess, sys
guard = subprocess.Popen(
    [sys.executable, "-I", "-S", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    start_new_session=True, env={},
)
guard.stdin.write(sys.argv[2].encode() + b"\\n"); guard.stdin.flush()
print(guard.pid, guard.stdout.readline().decode(), flush=True)
sys.stdin.read()
"""


def order_of(script: str, folder: Path, **environment: str) -> str:
    return json.dumps(
        {
            "argv": [sys.executable, "-I", "-S", "-u", "-c", script],
            "environment": environment,
            "folder": str(folder),
            "limits": {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": 512},
        }
    )


def is_alive(pid: int) -> bool:
    found = table.entry(pid)
    return found is not None and not found.is_zombie


class RunningGuard:
    """A guard under test, killed with all it runs when the test ends."""

    def __init__(self, order: str) -> None:
        stray = os.open("/dev/null", os.O_RDONLY)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD_PATH)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={},
            pass_fds=(stray,),  # a careless parent's; no program may see it
        )
        os.close(stray)
        self.say(order)

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def news(self) -> dict[str, object]:
        assert self.process.stderr is not None
        return json.loads(self.process.stderr.readline())

    def output_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode()

    def end(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        self.process.wait(timeout=20)


@pytest.fixture
def run_guard():
    guards = []

    def run(order: str) -> RunningGuard:
        guards.append(RunningGuard(order))
        return guards[-1]

    yield run
    for guard in guards:
        guard.end()


def test_kill_9_of_the_neuron_leaves_neither_engine_nor_grandchildren(tmp_path):
    order = order_of(FAMILY, tmp_path)
    parent = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", PARENT, str(GUARD_PATH), order],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 4
    assert all(is_alive(pid) for pid in pids)
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    until_blocking(lambda: not any(is_alive(pid) for pid in pids), "all four are gone")


def test_kill_9_of_the_guard_takes_the_engine_with_it(tmp_path, run_guard):
    guard = run_guard(order_of("import time; print(1, flush=True); time.sleep(600)", tmp_path))
    pid = guard.news()["pid"]
    guard.output_line()
    guard.process.kill()
    until_blocking(lambda: not is_alive(pid), "the engine is gone")


def test_a_program_that_ignores_sigterm_is_killed_after_its_grace(tmp_path, run_guard):
    guard = run_guard(order_of(FAMILY, tmp_path))
    assert guard.news()["event"] == "started"
    pids = [int(word) for word in guard.output_line().split()]
    guard.say('{"stop": 0.05}')
    news = guard.news()
    assert news["event"] == "exited"
    assert os.WTERMSIG(news["status"]) == signal.SIGKILL
    assert not any(is_alive(pid) for pid in pids)


def test_a_program_that_obeys_sigterm_ends_in_its_own_way(tmp_path, run_guard):
    script = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print(1, flush=True)\n"
        "while True: time.sleep(60)\n"
    )
    guard = run_guard(order_of(script, tmp_path))
    guard.news()
    guard.output_line()
    guard.say('{"stop": 30}')
    assert os.waitstatus_to_exitcode(guard.news()["status"]) == 7


def test_children_left_by_a_program_that_ended_are_killed(tmp_path, run_guard):
    script = FAMILY.replace("print(*pids, flush=True)\nwhile True: time.sleep(60)", "print(*pids)")
    guard = run_guard(order_of(script, tmp_path))
    guard.news()
    pids = [int(word) for word in guard.output_line().split()]
    assert os.waitstatus_to_exitcode(guard.news()["status"]) == 0
    assert not any(is_alive(pid) for pid in pids)


def test_the_program_inherits_nothing_but_what_it_is_given(tmp_path, run_guard):
    """R6: no new privileges, own session and group, private files, no descriptors."""
    script = (
        "import os, json, resource\n"
        "status = open('/proc/self/status').read()\n"
        "print(json.dumps({\n"
        " 'env': dict(os.environ), 'umask': os.umask(0),\n"
        " 'fds': sorted(map(int, os.listdir('/proc/self/fd'))),\n"
        " 'own': os.getpid() == os.getsid(0) == os.getpgid(0),\n"
        " 'nnp': 'NoNewPrivs:\\t1' in status, 'cwd': os.getcwd(),\n"
        " 'core': resource.getrlimit(resource.RLIMIT_CORE),\n"
        " 'files': resource.getrlimit(resource.RLIMIT_NOFILE),\n"
        " 'ignored': [l for l in status.splitlines() if l.startswith('SigIgn')][0].split()[1]}))\n"
    )
    guard = run_guard(order_of(script, tmp_path, ONLY="this"))
    guard.news()
    found = json.loads(guard.output_line())
    found["env"].pop("LC_CTYPE", None)  # Python itself sets it under the C locale
    assert found["env"] == {"ONLY": "this"}
    assert found["fds"] == [0, 1, 2, 3]  # 3 is the listing itself
    assert found["umask"] == 0o077
    assert found["own"] is True
    assert found["nnp"] is True
    assert found["cwd"] == str(tmp_path)
    assert found["core"] == [0, 0]
    assert found["files"] == [min(512, resource.getrlimit(resource.RLIMIT_NOFILE)[1])] * 2
    # Python ignores SIGPIPE and SIGXFSZ by itself; nothing else may be ignored.
    # (32 and 33 belong to the C library, and no program can change them.)
    allowed = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1) | 0b11 << 31
    assert int(found["ignored"], 16) & ~allowed == 0


def test_a_program_that_cannot_be_run_is_told(tmp_path, run_guard):
    order = json.loads(order_of("", tmp_path))
    order["argv"] = ["/nonexistent/llama-server"]
    guard = run_guard(json.dumps(order))
    news = guard.news()
    assert (news["event"], news["errno"]) == ("refused", "ENOENT")
    assert guard.process.wait(timeout=20) == 127
