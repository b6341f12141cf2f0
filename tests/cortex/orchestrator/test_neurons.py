"""A neuron's record: its frozen picture, and what a new connection inherits."""

from dataclasses import replace

from helexa.cortex.orchestrator.events import NeuronRestored
from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.neurons import (
    ANSWERS_MAX,
    MODELS_PER_NEURON_MAX,
    Neuron,
)
from helexa.cortex.orchestrator.snapshot import Instance, Pending
from helexa.protocol.control import LoadModel, ProvisioningResponse, UnloadModel
from helexa.protocol.ids import CommandId, ModelId
from tests.fakes.fleet import model, register, status

M = ModelId("m")


def test_the_picture_is_kept_until_something_changes() -> None:
    neuron = Neuron.registered(1, register("n1"), 5.0)
    picture = neuron.view()
    assert neuron.view() is picture
    neuron.put(M, Instance(status=status(model())))
    assert neuron.view() is not picture
    assert neuron.view().models == {"m": "loaded"}
    assert picture.instances == {}, "what was given out does not change"


def test_the_same_process_keeps_its_waits_and_drops_commands_under_way() -> None:
    old = Neuron.registered(1, register("n1", epoch=3), 0.0)
    pending = Pending(CommandId("c"), UnloadModel(model_id=M), 0.0, 10.0)
    told = Instance(pending=pending, makes_room_for=ModelId("newcomer"))
    old.put(M, replace(told, not_before_s=99.0, refusals=4, known_digest="d"))
    new = Neuron.registered(2, register("n1", epoch=3), 5.0)
    new.inherit(old)
    assert new.instances[M].not_before_s == 99.0
    assert new.instances[M].known_digest == ""
    assert new.instances[M].pending is None
    assert new.instances[M].makes_room_for is None


def test_a_new_process_starts_clean_but_stays_owned() -> None:
    old = Neuron.registered(1, register("n1", epoch=3), 0.0)
    old.conflicts = 2
    old.put(M, Instance(not_before_s=99.0, owned=True))
    old.put(ModelId("other"), Instance(not_before_s=99.0))
    new = Neuron.registered(2, register("n1", epoch=4), 5.0)
    new.inherit(old)
    assert new.instances == {M: Instance(owned=True)}
    assert new.conflicts == 2


def test_a_restored_neuron_is_unconfirmed_and_has_no_connection() -> None:
    message = register("n1")
    event = NeuronRestored(message.neuron, message.capabilities, (), frozenset({M}))
    view = Neuron.restored(event, 7.0).view()
    assert view.state is NeuronState.UNCONFIRMED
    assert not view.connected
    assert view.connection == 0


def test_answers_are_kept_within_a_bound() -> None:
    neuron = Neuron.registered(1, register("n1"), 0.0)
    for number in range(ANSWERS_MAX * 2):
        neuron.answers.append(
            ProvisioningResponse(command_id=CommandId(str(number)), model_id=M, accepted=True)
        )
    assert len(neuron.view().answers) == ANSWERS_MAX


def test_a_neuron_keeps_no_more_models_than_there_can_be() -> None:
    neuron = Neuron.registered(1, register("n1"), 0.0)
    for number in range(MODELS_PER_NEURON_MAX):
        assert neuron.has_room_for(ModelId(f"m{number}"))
        neuron.put(ModelId(f"m{number}"), Instance())
    assert not neuron.has_room_for(M)
    assert neuron.has_room_for(ModelId("m7")), "it is there already"


def test_an_instance_that_is_as_it_was_is_no_change() -> None:
    neuron = Neuron.registered(1, register("n1"), 0.0)
    neuron.change(M, Instance(owned=True))
    view = neuron.view()
    neuron.change(M, Instance(owned=True))
    assert neuron.view() is view
    neuron.change(M, Instance())
    assert neuron.view().instances == {M: Instance()}


def test_refusals_are_forgiven_and_a_crash_is_waited_out() -> None:
    neuron = Neuron.registered(1, register("n1"), 0.0)
    neuron.put(M, Instance(not_before_s=9.0, refusals=2))
    neuron.put(ModelId("other"), Instance(not_before_s=9.0, recovering=True))
    neuron.forgive()
    assert neuron.instances[M] == Instance()
    assert neuron.instances[ModelId("other")].not_before_s == 9.0


def test_a_neuron_that_is_cut_off_forgets_commands_under_way() -> None:
    neuron = Neuron.registered(1, register("n1"), 0.0)
    pending = Pending(CommandId("c"), LoadModel(model_id=M), 0.0, 10.0)
    neuron.put(M, Instance(pending=pending, owned=True))
    neuron.cut_off()
    assert (neuron.connection, neuron.instances) == (0, {M: Instance(owned=True)})
