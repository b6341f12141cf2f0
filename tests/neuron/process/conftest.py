import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from helexa.model_runtime.interfaces import LaunchPlan
from helexa.neuron.process.spawn import Spawner

PlanOf = Callable[..., LaunchPlan]


@pytest.fixture
def spawner(tmp_path: Path) -> Spawner:
    return Spawner(tmp_path / "state", sys.executable)


@pytest.fixture
def plan_of() -> PlanOf:
    """A plan that runs a Python script given as text."""

    def make(script: str, *arguments: str, **environment: str) -> LaunchPlan:
        argv = (sys.executable, "-I", "-S", "-u", "-c", script, *arguments)
        return LaunchPlan(argv=argv, endpoint="http://127.0.0.1:1", environment=environment)

    return make
