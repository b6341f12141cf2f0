"""Background work that is never lost: every task has an owner that knows how it ended.

asyncio keeps only weak references to tasks, and an exception in a forgotten one is printed at
some later garbage collection, if at all. A `TaskScope` keeps its tasks, reports each failure at
once, and on closing cancels what is left and waits for it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class TaskScope:
    """A set of running tasks with one owner.

    `on_failure(name, error)` is called once for each task that ends by an exception other than
    cancellation. It must not raise.
    """

    def __init__(self, on_failure: Callable[[str, BaseException], None]) -> None:
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` as a task of this scope; raises RuntimeError once the scope is closed."""
        if self._closed:
            work.close()
            raise RuntimeError(f"cannot start {name!r}: its task scope is closed")
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._on_failure(task.get_name(), error)

    async def close(self, timeout_s: float = 5.0) -> list[str]:
        """Cancel all tasks and wait; return the names of those still running after `timeout_s`."""
        self._closed = True
        current = asyncio.current_task()
        pending = [task for task in self._tasks if task is not current]
        for task in pending:
            task.cancel()
        if not pending:
            return []
        _, alive = await asyncio.wait(pending, timeout=timeout_s)
        return sorted(task.get_name() for task in alive)
