"""The commands: values that nobody can change, each with its cause; the shell knows them all."""

import dataclasses
import inspect
from typing import get_args

import pytest

from helexa.neuron.registry import commands
from helexa.neuron.runtime import supervisor

KINDS = get_args(commands.Command)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_command_is_frozen_and_carries_its_cause(kind):
    assert "cause" in {field.name for field in dataclasses.fields(kind)}
    assert kind.__dataclass_params__.frozen


def test_the_supervisor_carries_out_every_command():
    source = inspect.getsource(supervisor)
    assert [kind.__name__ for kind in KINDS if kind.__name__ not in source] == []
