"""What runs, written down: so that the next neuron knows the orphans of a dead one.

The guard ends an engine when its neuron dies, whatever killed it. This is for the case that the
guard was killed too. One small file per engine, private, gone when the engine is.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from helexa.neuron.process import table
from helexa.util.regular_files import read_regular

MARK_VARIABLE = "HELEXA_ENGINE"
RECORD_BYTES_MAX = 4096


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One engine and the neuron that started it, each named by pid, start and boot."""

    name: str
    boot_id: str
    neuron_pid: int
    neuron_start_ticks: int
    group: int
    start_ticks: int
    mark: str
    """The value of `HELEXA_ENGINE` in the engine's environment: random, inherited by children."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """An engine whose neuron is gone, and what is left of it."""

    record: RunRecord
    pids: tuple[int, ...]


class RunRecords:
    """The folder of run records. `proc` is where the process table is read."""

    def __init__(self, folder: Path, proc: Path = table.PROC) -> None:
        self._folder = folder
        self._proc = proc

    def write(self, name: str, group: int, mark: str) -> None:
        """Write down an engine that just started. Without /proc there is nothing to write."""
        engine = table.entry(group, self._proc)
        own = table.entry(os.getpid(), self._proc)
        if engine is None or own is None:
            return
        record = RunRecord(
            name=name,
            boot_id=table.boot_id(self._proc),
            neuron_pid=own.pid,
            neuron_start_ticks=own.start_ticks,
            group=group,
            start_ticks=engine.start_ticks,
            mark=mark,
        )
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self._folder / f"{mark}.part"
        part.write_bytes(msgspec.json.encode(record))
        part.chmod(0o600)
        part.replace(self._path(mark))

    def remove(self, mark: str) -> None:
        """The engine is gone."""
        self._path(mark).unlink(missing_ok=True)

    def kill_left(self, mark: str) -> None:
        """The guard of one of our own engines was killed: kill what is left of the engine."""
        record = self._read(self._path(mark))
        for pid in self._left(record) if record is not None else ():
            table.kill(pid)

    def reap(self) -> list[Orphan]:
        """Kill what dead neurons left behind; return what was found alive.

        A record of another boot, or of a neuron that still lives, is never acted on.
        """
        found: list[Orphan] = []
        for path in sorted(self._folder.glob("*.json")):
            record = self._read(path)
            if record is not None and self._neuron_lives(record):
                continue
            pids = self._left(record) if record is not None else ()
            for pid in pids:
                table.kill(pid)
            if record is not None and pids:
                found.append(Orphan(record, pids))
            with suppress(OSError):  # a folder, say: it is in nobody's way
                path.unlink()
        return found

    def _path(self, mark: str) -> Path:
        return self._folder / f"{mark}.json"

    def _read(self, path: Path) -> RunRecord | None:
        try:
            return msgspec.json.decode(read_regular(path, RECORD_BYTES_MAX), type=RunRecord)
        except (OSError, msgspec.MsgspecError, UnicodeError):
            return None

    def _neuron_lives(self, record: RunRecord) -> bool:
        if record.boot_id != table.boot_id(self._proc):
            return False
        neuron = table.entry(record.neuron_pid, self._proc)
        return neuron is not None and neuron.start_ticks == record.neuron_start_ticks

    def _left(self, record: RunRecord) -> tuple[int, ...]:
        if record.boot_id != table.boot_id(self._proc):
            return ()
        leader = table.entry(record.group, self._proc)
        # A leader with another start is a stranger who got the pid: his session is not ours.
        ours = leader is None or leader.start_ticks == record.start_ticks
        setting = f"{MARK_VARIABLE}={record.mark}"
        return tuple(
            one.pid
            for one in table.entries(self._proc)
            if not one.is_zombie
            and one.start_ticks >= record.start_ticks
            and (
                (ours and one.session == record.group)
                or table.has_environment(one.pid, setting, self._proc)
            )
        )
