"""What the engines say about a configured model."""

import pytest

from helexa.cli.engines import engine_problems
from helexa.config.neuron import ENGINES_ALLOWED
from helexa.config.rules import ATTACHING, ENGINES
from helexa.model_runtime.engines.catalogue import ENGINES as DESCRIBED
from helexa.protocol.model import ModelConfig


def test_the_engines_that_settings_know_are_those_that_are_described() -> None:
    assert set(ENGINES) == set(DESCRIBED)
    assert {name for name, engine in DESCRIBED.items() if not engine.spawns} == ATTACHING
    assert set(ENGINES_ALLOWED) == set(ENGINES) - {"echo"}


@pytest.mark.parametrize("engine", ENGINES)
def test_an_unknown_option_is_a_problem_of_every_engine(engine: str) -> None:
    endpoint = "http://127.0.0.1:1" if engine in ATTACHING else None
    config = ModelConfig(id="m", engine=engine, source="m", listen_endpoint=endpoint,
                         options={"nonsense": 1})  # fmt: skip
    assert any("nonsense" in problem for problem in engine_problems(config))
