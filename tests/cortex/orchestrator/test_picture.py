"""What a view is made from: who has a model, where it could go, who may still come back."""

from helexa.cortex.orchestrator.accounts import Accounts
from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.picture import Picture
from helexa.cortex.orchestrator.policy import REPLACE_AFTER_S
from helexa.cortex.orchestrator.snapshot import NeuronView, Outlook
from helexa.protocol.ids import ModelId
from helexa.protocol.lifecycle import ModelState
from tests.fakes.fleet import GIB, model
from tests.fakes.views import desired, instance, neuron

M = ModelId("m")
LOADED = instance(ModelState.LOADED, GIB)


def pictured(*views: NeuronView, now: float = 0.0) -> Picture:
    neurons = {view.descriptor.id: view for view in views}
    holders = {M: {key for key, view in neurons.items() if M in view.instances}}
    accounts = Accounts()
    accounts.touch(neurons)
    return Picture({M: desired("m")}, neurons, holders, Outlook(), accounts, now)


def test_those_who_have_a_model_are_told_by_their_ids() -> None:
    picture = pictured(neuron("n2", m=LOADED), neuron("n1", m=LOADED), neuron("n3"))
    assert [view.descriptor.id for view, _ in picture.where(M)] == ["n1", "n2"]
    assert picture.where(ModelId("other")) == []


def test_a_place_is_found_where_there_is_room() -> None:
    assert pictured(neuron("n1", GIB), neuron("n2")).place(model("m")).neuron_id == "n2"


def test_who_was_there_before_a_restart_is_expected_for_a_while_and_only_with_a_reason() -> None:
    away = neuron("n1", state=NeuronState.UNCONFIRMED, m=LOADED)
    gone = neuron("n2", state=NeuronState.GONE, m=LOADED)
    assert pictured(away, gone).expected_on(model("m")) == ["n1"]
    assert pictured(away, gone, now=REPLACE_AFTER_S).expected_on(model("m")) == []
    assert pictured(gone).expected_on(model("m")) == []
