"""Readings that take long, fail or hang; the clock is a script."""

import asyncio
import threading

import pytest

from helexa.neuron.runtime.sampler import STALE_AFTER, Sampler, in_own_thread
from helexa.util.tasks import TaskScope

FRESH_S = 10.0


class Meter:
    """A sampler of a value that the test sets, and how often it was read."""

    def __init__(self, tasks: TaskScope) -> None:
        self.now_s = 100.0
        self.value: object = 1
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.sampler: Sampler[object] = Sampler(
            self._read, "meter", tasks=tasks, now=lambda: self.now_s, fresh_s=FRESH_S
        )

    async def _read(self) -> object:
        self.reads += 1
        await self.gate.wait()
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.fixture
async def meter():
    faults: list[object] = []
    tasks = TaskScope(lambda name, error: faults.append((name, error)))
    yield Meter(tasks)
    await tasks.close()
    assert faults == []


async def test_a_value_is_read_anew_only_when_it_is_no_longer_fresh(meter):
    assert await meter.sampler.latest(5.0) == 1
    meter.value = 2
    meter.now_s += FRESH_S - 1
    assert await meter.sampler.latest(5.0) == 1
    meter.now_s += 1
    assert await meter.sampler.latest(5.0) == 2
    assert meter.reads == 2


async def test_many_who_ask_at_once_cause_one_reading(meter):
    meter.gate.clear()
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(meter.sampler.latest(5.0)) for _ in range(20)]
        await asyncio.sleep(0)
        meter.gate.set()
    assert {task.result() for task in asked} == {1}
    assert meter.reads == 1


async def test_one_that_hangs_is_left_out_and_not_begun_again(meter):
    meter.gate.clear()
    for _ in range(3):
        assert await meter.sampler.latest(0.0) is None
    assert meter.reads == 1
    meter.gate.set()
    assert await meter.sampler.latest(5.0) == 1


async def test_an_old_value_is_told_for_a_while_and_then_no_more(meter):
    await meter.sampler.latest(5.0)
    meter.gate.clear()
    meter.now_s += FRESH_S
    assert await meter.sampler.latest(0.0) == 1
    meter.now_s += FRESH_S * STALE_AFTER
    assert await meter.sampler.latest(0.0) is None


async def test_one_that_fails_is_missing_and_is_no_fault_of_the_neuron(meter):
    meter.value = OSError("no such disk")
    assert await meter.sampler.latest(5.0) is None
    assert await meter.sampler.latest(5.0) is None
    meter.value = 3
    assert await meter.sampler.latest(5.0) == 3


async def test_a_thread_of_its_own_gives_back_what_it_read_or_raised():
    assert await in_own_thread(lambda: threading.current_thread().daemon) is True
    with pytest.raises(ZeroDivisionError):
        await in_own_thread(lambda: 1 // 0)


async def test_a_thread_that_hangs_holds_nobody_up():
    """Leaving it is safe at any time: also when its answer comes after all."""
    gate, ended = threading.Event(), threading.Event()

    def hang() -> None:
        gate.wait()
        ended.set()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await in_own_thread(hang)
    gate.set()
    assert await in_own_thread(lambda: ended.wait(20.0))
    await asyncio.sleep(0)
