"""What takes memory on a neuron, what is there, and for how long time alone leaves it so."""

from helexa.cortex.orchestrator.holding import (
    NEVER_S,
    booked_bytes,
    holds,
    holds_until_s,
    measured,
    needs_of_models,
    occupies,
)
from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.policy import REPLACE_AFTER_S
from helexa.cortex.orchestrator.snapshot import Instance, Pending
from helexa.protocol.control import LoadModel, UnloadModel
from helexa.protocol.ids import CommandId, ModelId
from helexa.protocol.lifecycle import ModelState
from tests.fakes.fleet import GIB
from tests.fakes.views import instance, neuron

M, N = ModelId("m"), ModelId("n")
LOADED = instance(ModelState.LOADED, 3 * GIB)


def test_what_is_loaded_coming_or_leaving_takes_memory() -> None:
    coming = Instance(pending=Pending(CommandId("c"), LoadModel(model_id=N), 0.0, 10.0))
    leaving = instance(ModelState.UNLOADING, GIB)
    view = neuron("n1", m=LOADED, n=coming, o=leaving, p=instance(ModelState.UNLOADED, GIB))
    assert [name for name, each in view.instances.items() if occupies(each)] == ["m", "n", "o"]
    assert needs_of_models([view]) == {"m": 3 * GIB, "o": GIB, "p": GIB}
    assert booked_bytes(view, {N: 2 * GIB}) == 6 * GIB
    assert (measured(LOADED), measured(coming)) == (3 * GIB, 0)


def test_a_vanished_neuron_holds_its_models_for_a_while() -> None:
    view = neuron("n1", state=NeuronState.GONE, m=LOADED)
    assert holds(view, M, REPLACE_AFTER_S - 1)
    assert not holds(view, M, REPLACE_AFTER_S)
    assert not holds(view, N, 0.0)


def test_what_is_told_to_leave_is_held_no_more() -> None:
    pending = Pending(CommandId("c"), UnloadModel(model_id=M), 0.0, 10.0)
    assert not holds(neuron("n1", m=instance(ModelState.LOADED, GIB, pending=pending)), M, 0.0)


def test_it_is_known_when_time_alone_lets_go() -> None:
    gone = neuron("n1", state=NeuronState.GONE, m=LOADED)
    until_s = holds_until_s(gone, 0.0)
    assert REPLACE_AFTER_S - 0.01 < until_s <= REPLACE_AFTER_S
    assert holds(gone, M, until_s - 0.01)
    assert holds_until_s(gone, REPLACE_AFTER_S) == NEVER_S
    waits = instance(ModelState.FAILED, GIB, recovering=True, not_before_s=50.0)
    later = instance(ModelState.FAILED, GIB, recovering=True, not_before_s=70.0)
    view = neuron("n1", m=waits, n=later, o=LOADED)
    assert [holds_until_s(view, now) for now in (0.0, 50.0, 70.0)] == [50.0, 70.0, NEVER_S]
    assert (holds(view, M, 49.9), holds(view, M, 50.0)) == (True, False)
