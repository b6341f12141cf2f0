import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from helexa.model_runtime.interfaces import LaunchPlan
from helexa.neuron.process.spawn import EngineProcess, Spawner

PlanOf = Callable[..., LaunchPlan]


class RememberingSpawner(Spawner):
    """Knows what it started, so that a test that fails leaves nothing behind."""

    def __init__(self, state_folder: Path) -> None:
        super().__init__(state_folder, sys.executable)
        self.started: list[EngineProcess] = []

    async def start(self, plan: LaunchPlan, name: str) -> EngineProcess:
        process = await super().start(plan, name)
        self.started.append(process)
        return process


@pytest.fixture
async def spawner(tmp_path: Path) -> AsyncIterator[Spawner]:
    """A spawner whose processes end with the test: uvloop waits for ever for one that does not."""
    spawner = RememberingSpawner(tmp_path / "state")
    yield spawner
    for process in spawner.started:
        await process.stop(0.0)


@pytest.fixture
def plan_of() -> PlanOf:
    """A plan that runs a Python script given as text."""

    def make(script: str, *arguments: str, **environment: str) -> LaunchPlan:
        argv = (sys.executable, "-I", "-S", "-u", "-c", script, *arguments)
        return LaunchPlan(argv=argv, endpoint="http://127.0.0.1:1", environment=environment)

    return make
