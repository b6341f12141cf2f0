import asyncio
import subprocess
import sys
from pathlib import Path

from helexa.model_runtime.models.locking import Flights, file_lock
from helexa.model_runtime.models.worker import silent
from tests.fakes.progress import Told


async def test_one_works_and_all_who_wait_hear_of_it() -> None:
    flights = Flights()
    inside = asyncio.Event()
    release = asyncio.Event()
    order: list[str] = []

    async def first() -> None:
        async with flights.join("k", silent) as flight:
            inside.set()
            await release.wait()
            flight.tell("download", 5, 10)
            order.append("first")

    async def second(told: Told) -> None:
        async with flights.join("k", told):
            order.append("second")

    told = Told()
    async with asyncio.TaskGroup() as group:
        group.create_task(first())
        await inside.wait()
        group.create_task(second(told))
        await asyncio.sleep(0)
        release.set()
    assert order == ["first", "second"]
    assert told.steps == [("download", 5, 10)]
    assert not flights._flights


async def test_different_keys_do_not_wait_for_each_other() -> None:
    flights = Flights()
    async with flights.join("a", silent), flights.join("b", silent):
        pass


async def test_a_cancelled_waiter_leaves_nothing_behind() -> None:
    flights = Flights()
    async with flights.join("k", silent):
        waiting = asyncio.get_running_loop().create_task(_enter(flights))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
    async with flights.join("k", silent):
        pass
    assert not flights._flights


async def _enter(flights: Flights) -> None:
    async with flights.join("k", silent):
        raise AssertionError("not its turn")


HOLDER = """
import fcntl, os, sys
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(handle, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


async def test_another_process_is_waited_for_until_it_dies(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert await asyncio.to_thread(holder.stdout.readline) == b"held\n"

        def once_waiting_kill(phase: str, done_bytes: int, total_bytes: int | None) -> None:
            told(phase, done_bytes, total_bytes)
            holder.kill()

        told = Told()
        async with file_lock(path, once_waiting_kill):
            assert holder.poll() is not None or await asyncio.to_thread(holder.wait, 10)
        assert told.phases() == ["waiting"]
        assert path.exists()
    finally:
        holder.kill()
        holder.wait()
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.close()
        holder.stdout.close()
