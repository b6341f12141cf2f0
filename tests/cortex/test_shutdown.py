"""Stopping in order, in bounded time, and faster when asked twice."""

import asyncio
import os
import signal
from typing import Any

from helexa.cortex.shutdown import Step, StopRequest, stop_in_order
from tests.fakes.control_plane import recording_logger
from tests.fakes.waiting import until


class Bench:
    def __init__(self) -> None:
        self.done: list[str] = []
        self.log: list[dict[str, Any]] = []
        self.request = StopRequest()

    def step(self, name: str, *, hangs: bool = False, **fields: Any) -> Step:
        async def run() -> None:
            if hangs:
                await asyncio.Event().wait()
            self.done.append(name)

        return Step(name, run, **({"timeout_s": 5.0} | fields))

    async def stop(self, *steps: Step) -> list[str]:
        return await stop_in_order(steps, self.request, recording_logger(self.log))


async def test_steps_run_in_order() -> None:
    bench = Bench()
    assert await bench.stop(bench.step("a"), bench.step("b")) == []
    assert bench.done == ["a", "b"]


async def test_a_step_may_be_a_plain_call() -> None:
    bench = Bench()
    assert await bench.stop(Step("call", lambda: bench.done.append("call"), 1.0)) == []
    assert bench.done == ["call"]


async def test_a_step_that_hangs_is_cut_and_the_next_one_runs() -> None:
    bench = Bench()
    assert await bench.stop(bench.step("a", hangs=True, timeout_s=0.02), bench.step("b")) == ["a"]
    assert bench.done == ["b"]


async def test_a_step_that_fails_is_told_and_the_next_one_runs() -> None:
    bench = Bench()

    async def fail() -> None:
        raise OSError("broken")

    assert await bench.stop(Step("a", fail, 1.0), bench.step("b")) == []
    assert bench.done == ["b"]
    assert "broken" in bench.log[0]["error"]


async def test_asked_twice_only_what_is_patient_is_cut_short() -> None:
    bench = Bench()
    bench.request.ask("first")
    bench.request.ask("second")
    cut = await bench.stop(
        bench.step("drain", hangs=True, timeout_s=3600.0, patient=True), bench.step("close")
    )
    assert cut == ["drain"]
    assert bench.done == ["close"]


async def test_a_drain_under_way_ends_when_asked_again() -> None:
    bench = Bench()
    bench.request.ask("first")
    asyncio.get_running_loop().call_later(0.02, bench.request.ask, "second")
    cut = await bench.stop(bench.step("drain", hangs=True, timeout_s=3600.0, patient=True))
    assert cut == ["drain"]


async def test_both_signals_ask_and_afterwards_are_left_alone() -> None:
    """R0.31."""
    request = StopRequest()
    before = signal.getsignal(signal.SIGTERM)
    with request.on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        await until(request.asked.is_set, "the first signal asks")
        assert request.because == "SIGTERM"
        os.kill(os.getpid(), signal.SIGINT)
        await until(request.hurried.is_set, "the second one hurries")
    assert signal.getsignal(signal.SIGTERM) == before
