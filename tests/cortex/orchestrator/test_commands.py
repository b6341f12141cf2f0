"""Every command is a value that the dispatcher knows how to carry out."""

from pathlib import Path
from typing import get_args

from helexa.cortex.control_plane import dispatch
from helexa.cortex.orchestrator.commands import UNISSUED, Command, Provision
from helexa.protocol.control import LoadModel
from helexa.protocol.ids import ModelId, NeuronId


def test_commands_are_frozen() -> None:
    for kind in get_args(Command):
        assert kind.__dataclass_params__.frozen, kind


def test_the_dispatcher_has_a_case_for_every_command() -> None:
    source = Path(dispatch.__file__).read_text()
    assert [k.__name__ for k in get_args(Command) if f"case {k.__name__}()" not in source] == []


def test_a_decided_command_has_no_id_before_it_is_issued() -> None:
    command = Provision(NeuronId("n1"), ModelId("m"), LoadModel(model_id=ModelId("m")))
    assert command.command_id == UNISSUED
