"""Engines under their guards, as the neuron sees them; on asyncio's own loop and on uvloop."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from helexa.model_runtime.interfaces import LaunchPlan
from helexa.neuron.process import table
from helexa.neuron.process.guarded import StartError
from helexa.neuron.process.output import OUTPUT_BYTES_MAX
from helexa.neuron.process.spawn import Spawner
from helexa.util.errors import ConfigError, TimedOutError
from tests.fakes.waiting import until

SLEEPS = "print('up'); import time; time.sleep(600)"
STUBBORN = (
    "import signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('up')\n"
    "while True: time.sleep(60)\n"
)


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request):
    return ("asyncio", {"use_uvloop": request.param == "uvloop"})


def is_gone(pid: int) -> bool:
    return table.entry(pid) is None


def tells_its_pid(marker) -> str:
    return f"import os, time; open({str(marker)!r}, 'w').write(str(os.getpid())); time.sleep(600)"


async def test_an_engine_runs_and_is_stopped_without_a_zombie(spawner, plan_of, tmp_path):
    """R1.16: the process manager starts and stops engines."""
    process = await spawner.start(plan_of(SLEEPS), "m")
    await until(lambda: process.output.tail() == ("up",), "it prints")
    assert table.entry(process.pid).group == process.pid == process.group
    assert len(list((tmp_path / "state/running").iterdir())) == 1
    ended = await process.stop(5.0)
    assert ended.asked
    assert ended.signal_name == "SIGTERM"
    assert is_gone(process.pid)
    assert list((tmp_path / "state/running").iterdir()) == []


async def test_an_engine_that_ignores_sigterm_is_killed(spawner, plan_of):
    process = await spawner.start(plan_of(STUBBORN), "m")
    await until(lambda: process.output.tail(), "it prints")
    assert (await process.stop(0.05)).signal_name == "SIGKILL"
    assert is_gone(process.pid)


async def test_a_stopped_engine_is_killed_too(spawner, plan_of):
    process = await spawner.start(plan_of(STUBBORN), "m")
    await until(lambda: process.output.tail(), "it prints")
    os.kill(process.pid, signal.SIGSTOP)
    assert (await process.stop(0.05)).signal_name == "SIGKILL"
    assert is_gone(process.pid)


async def test_a_guard_that_is_stopped_does_not_save_its_engine(spawner, plan_of):
    process = await spawner.start(plan_of(SLEEPS), "m")
    guard_pid = table.entry(process.pid).parent
    os.kill(guard_pid, signal.SIGSTOP)
    process._guarded.kill_all()
    await process.wait()
    await until(lambda: is_gone(process.pid) and is_gone(guard_pid), "both are gone")


async def test_kill_9_of_the_guard_leaves_no_grandchild(spawner, plan_of):
    script = (
        "import os, time\n"
        "pid = os.fork()\n"
        "if pid == 0: os.setsid()\n"
        "else: print(pid)\n"
        "time.sleep(600)\n"
    )
    process = await spawner.start(plan_of(script), "m")
    await until(lambda: process.output.tail(), "it prints")
    grandchild = int(process.output.tail()[0])
    os.kill(table.entry(process.pid).parent, signal.SIGKILL)
    assert (await process.wait()).signal_name == "SIGKILL"
    await until(lambda: is_gone(process.pid) and is_gone(grandchild), "both are gone")


async def test_a_crash_is_told_with_its_signal_and_its_last_words(spawner, plan_of):
    process = await spawner.start(plan_of("import os; print('out of luck'); os.abort()"), "m")
    ended = await process.wait()
    assert ended.signal_name == "SIGABRT"
    assert not ended.asked
    assert process.output.tail() == ("out of luck",)


async def test_an_exit_status_is_told(spawner, plan_of):
    ended = await (await spawner.start(plan_of("import sys; sys.exit(3)"), "m")).wait()
    assert (ended.status, str(ended)) == (3, "exited with status 3")


async def test_a_chatty_engine_neither_blocks_nor_fills_memory(spawner, plan_of):
    """100 MB of output are drained; the last of it is kept."""
    script = (
        "import sys\n"
        "block = b'x' * 99 + b'\\n'\n"
        "for _ in range(1000): sys.stdout.buffer.write(block * 1000)\n"
        "sys.stdout.buffer.write(b'last\\n')\n"
    )
    process = await spawner.start(plan_of(script), "m")
    ended = await process.wait()
    assert ended.is_success
    assert process.output.seen_bytes == 100_000_005
    assert process.output.tail(1) == ("last",)
    assert sum(map(len, process.output._chunks)) <= OUTPUT_BYTES_MAX


async def test_an_engine_starts_from_an_empty_environment(plan_of, tmp_path):
    """Nothing of the neuron's own environment, nor of its programs', reaches an engine."""
    secret = {"LLAMA_ARG_TOOLS": "all"}
    spawner = Spawner(tmp_path / "state", sys.executable, program_environment=secret)
    script = "import os; print(*sorted(os.environ))"
    process = await spawner.start(plan_of(script, CUDA_VISIBLE_DEVICES="0"), "m")
    await process.wait()
    names = set(process.output.tail()[0].split()) - {"LC_CTYPE"}
    assert names == {"CUDA_VISIBLE_DEVICES", "HELEXA_ENGINE", "HOME", "LANG", "PATH"}


async def test_a_forbidden_environment_starts_nothing(spawner, plan_of):
    with pytest.raises(ConfigError, match="LD_PRELOAD.*R4"):
        await spawner.start(plan_of(SLEEPS, LD_PRELOAD="/tmp/x.so"), "m")


async def test_a_missing_binary_is_an_error_with_its_path(spawner, tmp_path):
    plan = LaunchPlan(argv=(str(tmp_path / "absent"),), endpoint="http://127.0.0.1:1")
    with pytest.raises(StartError, match="absent"):
        await spawner.start(plan, "m")


async def test_a_relative_binary_is_refused(spawner):
    with pytest.raises(StartError, match="absolute"):
        await spawner.start(LaunchPlan(argv=("sh", "-c", "true"), endpoint=""), "m")


async def test_a_cancelled_start_leaves_nothing(spawner, plan_of, tmp_path):
    for turns in range(0, 40, 4):
        marker = tmp_path / f"pid{turns}"
        work = spawner.start(plan_of(tells_its_pid(marker)), "m")
        task = asyncio.get_running_loop().create_task(work)
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not marker.exists() or is_gone(int(marker.read_text() or 0))


async def test_a_program_gives_its_status_and_last_lines(spawner):
    argv = (sys.executable, "-I", "-S", "-c", "print('done'); raise SystemExit(5)")
    assert await spawner.run_program(argv, 20.0) == (5, "done")


async def test_a_program_gets_its_own_environment(tmp_path):
    spawner = Spawner(tmp_path, sys.executable, program_environment={"PIP_NO_INDEX": "1"})
    script = "import os; print(os.environ['PIP_NO_INDEX'])"
    argv = (sys.executable, "-I", "-S", "-c", script)
    assert await spawner.run_program(argv, 20.0) == (0, "1")


async def test_a_program_that_takes_too_long_is_ended(spawner, tmp_path):
    marker = tmp_path / "pid"
    argv = (sys.executable, "-I", "-S", "-c", tells_its_pid(marker))
    with pytest.raises(TimedOutError, match="1 s"):
        await spawner.run_program(argv, 1.0)
    assert is_gone(int(marker.read_text()))


async def test_memory_of_an_engine_is_measured_with_its_children(spawner, plan_of):
    script = (
        "import os, time\n"
        "os.fork()\n"
        "block = bytearray(os.urandom(1 << 20)) * 32\n"
        "os.write(1, b'up\\n')\n"  # print() writes line and line end apart, and two may mix
        "time.sleep(600)\n"
    )
    process = await spawner.start(plan_of(script), "m")
    await until(lambda: len(process.output.tail()) == 2, "both print")
    measured = process.memory_bytes()
    await process.stop(0.0)
    assert measured is not None
    assert 64 << 20 < measured < 128 << 20


async def test_descriptors_do_not_pile_up(spawner, plan_of):
    def open_now() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    await (await spawner.start(plan_of("pass"), "m")).wait()
    before = open_now()
    for _ in range(5):
        await (await spawner.start(plan_of("pass"), "m")).wait()
    await until(lambda: open_now() <= before, "descriptors are closed")
