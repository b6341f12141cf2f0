"""The one way in which a cortex stops: asked once it stops in order, asked twice it hurries."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from helexa.util.errors import describe
from helexa.util.tasks import TaskScope

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Set by a signal or by `ask`; a second one sets `hurried`."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()
        self.because = ""

    def ask(self, because: str) -> None:
        """Ask for a stop; asking again means "now"."""
        if self.asked.is_set():
            self.hurried.set()
            return
        self.because = because
        self.asked.set()

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM ask, while inside; only the main thread gets signals."""
        loop = asyncio.get_running_loop()
        taken: list[signal.Signals] = []
        for each in SIGNALS:
            with contextlib.suppress(ValueError, RuntimeError):
                loop.add_signal_handler(each, self.ask, each.name)
                taken.append(each)
        try:
            yield
        finally:
            for each in taken:
                loop.remove_signal_handler(each)


@dataclass(frozen=True, slots=True)
class Step:
    """One part of stopping. It may take `timeout_s`; then, or when hurried, it is cancelled."""

    name: str
    run: Callable[[], Awaitable[object] | None]
    timeout_s: float
    patient: bool = False
    """Only a patient step (a drain) is cut short when the stop is hurried."""


async def stop_in_order(steps: Sequence[Step], request: StopRequest, logger: Any) -> list[str]:
    """Run the steps one after the other, each in bounded time; return the names of those cut.

    A step that fails is logged, and the next one runs: stopping always goes on to its end.
    """
    cut: list[str] = []
    for step in steps:
        if step.patient and request.hurried.is_set():
            cut.append(step.name)
            continue
        if not await _bounded(step, request, logger):
            logger.warning("shutdown_step_cut", step=step.name, timeout_s=step.timeout_s)
            cut.append(step.name)
    return cut


async def _bounded(step: Step, request: StopRequest, logger: Any) -> bool:
    """Run a step; False if it was cut."""

    def failed(name: str, error: BaseException) -> None:
        logger.error("shutdown_step_failed", step=name, error=describe(error))

    scope = TaskScope(failed)
    work = scope.start(_await(step.run), step.name)
    waits = {work}
    if step.patient:
        waits.add(scope.start(_await_flag(request.hurried), "hurry"))
    await asyncio.wait(waits, timeout=step.timeout_s, return_when=asyncio.FIRST_COMPLETED)
    done = work.done()
    await scope.close(timeout_s=1.0)
    return done


async def _await(run: Callable[[], Awaitable[object] | None]) -> None:
    result = run()
    if result is not None:
        await result


async def _await_flag(flag: asyncio.Event) -> None:
    await flag.wait()
