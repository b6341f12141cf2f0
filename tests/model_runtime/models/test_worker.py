import asyncio
import threading

import pytest

from helexa.model_runtime.models.worker import Stop, StoppedError, from_thread, in_thread
from tests.fakes.progress import Told


async def test_the_result_and_the_error_of_the_work_come_back() -> None:
    assert (
        await in_thread(lambda _stop: threading.current_thread() is threading.main_thread())
        is False
    )
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda _stop: 1 // 0)


async def test_a_cancelled_caller_leaves_only_when_the_thread_has_ended() -> None:
    begun, ended = threading.Event(), threading.Event()

    def work(stop: Stop) -> None:
        begun.set()
        try:
            while True:
                stop.check()
        finally:
            ended.set()

    running = asyncio.get_running_loop().create_task(in_thread(work))
    await asyncio.to_thread(begun.wait, 10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


async def test_a_second_cancellation_does_not_leave_the_thread_behind() -> None:
    begun, release, ended = threading.Event(), threading.Event(), threading.Event()

    def work(_stop: Stop) -> None:
        begun.set()
        release.wait(10)
        ended.set()

    running = asyncio.get_running_loop().create_task(in_thread(work))
    await asyncio.to_thread(begun.wait, 10)
    for _ in range(3):
        running.cancel()
        await asyncio.sleep(0)
    assert not running.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


def test_stop_is_silent_until_it_is_set() -> None:
    stop = Stop()
    stop.check()
    stop.set()
    with pytest.raises(StoppedError):
        stop.check()


async def test_progress_from_a_thread_is_told_on_the_loop() -> None:
    where: list[threading.Thread] = []
    told = Told()

    def listen(phase: str, done_bytes: int, total_bytes: int | None) -> None:
        where.append(threading.current_thread())
        told(phase, done_bytes, total_bytes)

    tell = from_thread(listen)
    await in_thread(lambda _stop: tell("check", 1, 2))
    assert told.steps == [("check", 1, 2)]
    assert where == [threading.main_thread()]
