"""No task is lost: each has an owner that hears how it ended."""

import asyncio

import pytest

from helexa.util.tasks import TaskScope


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_failure_is_reported_at_once_and_by_name() -> None:
    heard: list[tuple[str, BaseException]] = []
    done = asyncio.Event()

    def on_failure(name: str, error: BaseException) -> None:
        heard.append((name, error))
        done.set()

    async def fail() -> None:
        raise ValueError("broken")

    scope = TaskScope(on_failure)
    scope.start(fail(), "worker")
    await asyncio.wait_for(done.wait(), 5)
    assert [(name, str(error)) for name, error in heard] == [("worker", "broken")]
    assert len(scope) == 0


async def test_closing_cancels_what_runs_and_takes_nothing_new() -> None:
    scope = TaskScope(lambda *_: pytest.fail("cancelling is no failure"))
    task = scope.start(forever(), "a")
    assert await scope.close() == []
    assert task.cancelled()
    with pytest.raises(RuntimeError, match="'b'.*closed"):
        scope.start(forever(), "b")


async def test_a_task_that_will_not_die_is_named() -> None:
    release = asyncio.Event()
    started = asyncio.Event()

    async def stubborn() -> None:
        started.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    scope = TaskScope(lambda *_: None)
    task = scope.start(stubborn(), "stubborn")
    await started.wait()
    assert await scope.close(timeout_s=0.01) == ["stubborn"]
    release.set()
    await task


async def test_a_task_may_close_the_scope_that_it_runs_in() -> None:
    scope = TaskScope(lambda *_: None)
    task = scope.start(scope.close(), "closer")
    assert await task == []
