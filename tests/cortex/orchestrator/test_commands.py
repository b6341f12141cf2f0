"""Every command is a value that the dispatcher knows how to carry out."""

from pathlib import Path
from typing import get_args

from helexa.cortex.control_plane import dispatch
from helexa.cortex.orchestrator.commands import (
    UNISSUED,
    AcceptNeuron,
    CloseConnection,
    Command,
    Outbox,
    Provision,
    Remark,
)
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


def test_what_is_to_be_done_is_taken_once_and_in_order() -> None:
    outbox = Outbox()
    outbox.put(AcceptNeuron(1, NeuronId("n1")))
    outbox.close(0, 4000, "no connection has this number")
    outbox.close(1, 4000, "why")
    outbox.remark("event", "info", NeuronId("n1"), because="why")
    assert outbox.taken() == [
        AcceptNeuron(1, NeuronId("n1")),
        CloseConnection(1, 4000, "why"),
        Remark("event", "info", NeuronId("n1"), None, "why"),
    ]
    assert outbox.taken() == []
