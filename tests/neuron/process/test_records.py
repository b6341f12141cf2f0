"""Orphans of a dead neuron are known and reaped; strangers with a reused pid are left alone."""

import os
import subprocess
import sys

import msgspec
import pytest

from helexa.neuron.process import table
from helexa.neuron.process.records import MARK_VARIABLE, RunRecord, RunRecords
from tests.fakes.odd_files import ODD
from tests.fakes.waiting import until_blocking

DEAD_PID = 2**22 + 1  # more than any pid that Linux gives out


@pytest.fixture
def engine():
    """A process that stands for an engine whose neuron and guard are dead."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "print(1, flush=True); input()"],
        env={MARK_VARIABLE: "ours"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdin is not None
    child.stdout.readline()
    yield child
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()


def write(folder, engine, **changes) -> RunRecords:
    record = RunRecord(
        name="m",
        boot_id=table.boot_id(),
        neuron_pid=DEAD_PID,
        neuron_start_ticks=1,
        group=engine.pid,
        start_ticks=table.entry(engine.pid).start_ticks,
        mark="other",
    )
    folder.mkdir()
    changed = msgspec.structs.replace(record, **changes)
    (folder / "a.json").write_bytes(msgspec.json.encode(changed))
    return RunRecords(folder)


def test_an_orphan_is_killed_and_its_record_dropped(tmp_path, engine):
    records = write(tmp_path / "r", engine)
    (orphan,) = records.reap()
    assert (orphan.record.name, orphan.pids) == ("m", (engine.pid,))
    assert engine.wait(timeout=20) == -9
    assert list((tmp_path / "r").iterdir()) == []
    assert records.reap() == []


def test_an_orphan_is_known_by_its_mark_even_in_another_session(tmp_path, engine):
    records = write(tmp_path / "r", engine, group=DEAD_PID, mark="ours")
    assert [orphan.pids for orphan in records.reap()] == [(engine.pid,)]


def test_a_stranger_with_the_same_pid_is_left_alone(tmp_path, engine):
    start = table.entry(engine.pid).start_ticks
    records = write(tmp_path / "r", engine, start_ticks=start - 1)
    assert records.reap() == []
    assert engine.poll() is None
    assert list((tmp_path / "r").iterdir()) == []


def test_a_record_of_another_boot_is_never_acted_on(tmp_path, engine):
    records = write(tmp_path / "r", engine, boot_id="another", mark="ours")
    assert records.reap() == []
    assert engine.poll() is None


def test_engines_of_a_living_neuron_are_left_alone(tmp_path, engine):
    own = table.entry(os.getpid())
    records = write(tmp_path / "r", engine, neuron_pid=own.pid, neuron_start_ticks=own.start_ticks)
    assert records.reap() == []
    assert engine.poll() is None
    assert len(list((tmp_path / "r").iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 9000, b'{"name":1}'])
def test_a_damaged_record_is_dropped(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    assert RunRecords(tmp_path).reap() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ODD)
def test_a_record_that_is_no_plain_file_does_not_hold_up_the_start(tmp_path, kind):
    ODD[kind](tmp_path / "a.json")
    assert RunRecords(tmp_path).reap() == []


def test_a_written_record_names_its_engine_and_is_private(tmp_path, engine):
    records = RunRecords(tmp_path / "r")
    records.write("m", engine.pid, "ours")
    (path,) = (tmp_path / "r").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert msgspec.json.decode(path.read_bytes(), type=RunRecord).group == engine.pid
    records.kill_left("ours")
    until_blocking(lambda: engine.poll() is not None, "it is gone")
    records.remove("ours")
    assert not path.exists()


def test_orphans_of_a_killed_neuron_and_guard_are_found_by_the_next_one(tmp_path):
    """kill -9 of neuron and guard: the grandchild that left is reaped at the next start."""
    script = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from helexa.model_runtime.interfaces import LaunchPlan\n"
        "from helexa.neuron.process import table\n"
        "from helexa.neuron.process.spawn import Spawner\n"
        "engine = 'import os, time\\npid = os.fork()\\n'\n"
        "engine += 'if pid: print(pid, flush=True)\\nelse: os.setsid()\\ntime.sleep(600)'\n"
        "async def main():\n"
        "    plan = LaunchPlan(argv=(sys.executable, '-I', '-S', '-c', engine), endpoint='')\n"
        "    process = await Spawner(Path(sys.argv[1]), sys.executable).start(plan, 'm')\n"
        "    while not process.output.tail(): await asyncio.sleep(0.01)\n"
        "    guard = table.entry(process.pid).parent\n"
        "    print(guard, process.pid, process.output.tail()[0], flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    neuron = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert neuron.stdout is not None
    guard, engine, grandchild = (int(word) for word in neuron.stdout.readline().split())
    os.kill(guard, 9)
    neuron.kill()
    neuron.wait()
    neuron.stdout.close()
    until_blocking(lambda: table.entry(engine) is None, "the engine died with its guard")
    (orphan,) = RunRecords(tmp_path / "running").reap()
    assert orphan.pids == (grandchild,)

    def gone() -> bool:
        found = table.entry(grandchild)
        return found is None or found.is_zombie

    until_blocking(gone, "the grandchild is gone")
