"""The one thread of the database."""

import asyncio
import threading

import pytest

from helexa.store.faults import StoreError
from helexa.store.thread import StoreThread
from tests.fakes.waiting import until


async def test_work_is_done_in_order_in_one_thread_off_the_loop() -> None:
    thread = StoreThread()
    names = [await thread.run(lambda: threading.current_thread().name) for _ in range(3)]
    assert len(set(names)) == 1
    assert names[0] != threading.current_thread().name
    await thread.close()


async def test_what_the_work_raises_is_raised() -> None:
    thread = StoreThread()

    def broken() -> None:
        raise StoreError("no", error_id="HX-0320")

    with pytest.raises(StoreError, match="no"):
        await thread.run(broken)
    await thread.close()


async def test_no_more_waits_than_is_allowed() -> None:
    thread = StoreThread(waiting_max=2)
    go = threading.Event()
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(thread.run(go.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(StoreError, match="busy"):
            await thread.run(go.wait)
        go.set()
    assert all(each.result() for each in waiting)
    assert await thread.run(lambda: 1) == 1
    await thread.close()


async def test_who_gives_up_waiting_does_not_stop_the_work() -> None:
    thread = StoreThread()
    go, done = threading.Event(), threading.Event()

    def work() -> None:
        go.wait()
        done.set()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(thread.run(work))
        await asyncio.sleep(0)
        task.cancel()
    go.set()
    await until(done.is_set, "the work is done")
    await thread.close()
