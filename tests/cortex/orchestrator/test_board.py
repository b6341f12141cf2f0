"""Who has what, who was promised what, and who would make room first."""

from dataclasses import replace

import msgspec

from helexa.cortex.orchestrator.board import booked_bytes, holds, needs_of_models
from helexa.cortex.orchestrator.demand import ModelDemand
from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.policy import REPLACE_AFTER_S
from helexa.cortex.orchestrator.rules import ModelRules
from helexa.cortex.orchestrator.snapshot import Instance, Outlook, Pending
from helexa.protocol.control import LoadModel, UnloadModel
from helexa.protocol.ids import CommandId, ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from tests.fakes.fleet import GIB
from tests.fakes.views import Board, board, desired, instance, neuron

M, N = ModelId("m"), ModelId("n")
LOADED = instance(ModelState.LOADED, 3 * GIB)


def test_what_is_loaded_coming_or_leaving_has_its_memory() -> None:
    coming = Instance(pending=Pending(CommandId("c"), LoadModel(model_id=N), 0.0, 10.0))
    leaving = instance(ModelState.UNLOADING, GIB)
    view = neuron("n1", m=LOADED, n=coming, o=leaving, p=instance(ModelState.UNLOADED, GIB))
    assert needs_of_models([view]) == {"m": 3 * GIB, "o": GIB, "p": GIB}
    assert booked_bytes(view, {N: 2 * GIB}) == 6 * GIB
    at = board(view)
    assert at.count_on(view) == 3
    assert at.free_bytes(view) == 4 * GIB


def test_a_booked_model_has_its_place_from_then_on() -> None:
    view = neuron("n1", m=instance(ModelState.UNLOADED, 3 * GIB))
    at = board(view)
    at.book(view, M)
    assert at.free_bytes(view) == 5 * GIB
    assert at.has(view, M)
    assert at.count_on(view) == 1


def test_a_promise_books_what_is_needed_beyond_what_others_leave() -> None:
    leaves = instance(ModelState.UNLOADING, 3 * GIB, makes_room_for=N)
    view = neuron("n1", m=leaves, n=instance(ModelState.UNLOADED, 5 * GIB))
    at = board(view)
    assert at.free_bytes(view) == 3 * GIB
    assert at.has(view, N)
    assert at.promised == {"n": {"n1"}}


def test_a_vanished_neuron_makes_room_for_nobody() -> None:
    leaves = instance(ModelState.UNLOADING, 3 * GIB, makes_room_for=N)
    at = board(neuron("n1", state=NeuronState.GONE, m=leaves))
    assert not at.promised
    assert not at.holders


def test_a_vanished_neuron_holds_its_models_for_a_while() -> None:
    view = neuron("n1", state=NeuronState.GONE, m=LOADED)
    assert holds(view, M, REPLACE_AFTER_S - 1)
    assert not holds(view, M, REPLACE_AFTER_S)
    assert not holds(view, N, 0.0)


def test_a_model_that_was_told_to_leave_is_held_no_more() -> None:
    pending = Pending(CommandId("c"), UnloadModel(model_id=M), 0.0, 10.0)
    view = neuron("n1", m=instance(ModelState.LOADED, GIB, pending=pending))
    assert not holds(view, M, 0.0)
    (held,) = board(view).held_on(view)
    assert held.leaving
    assert not held.loaded


def test_the_longest_idle_is_told_first_and_what_is_in_use_is_known() -> None:
    view = neuron("n1", m=LOADED, n=LOADED, o=LOADED)
    demand = {
        M: ModelDemand(last_asked_s=900.0),
        N: ModelDemand(last_asked_s=100.0),
        ModelId("o"): ModelDemand(in_flight=1),
    }
    models = {m: desired(m, ModelRules(min_replicas=0)) for m in demand}
    at = Board([view], models, Outlook(demand=demand), 1000.0)
    held = at.held_on(view)
    assert [(h.model_id, h.idle_s, h.busy) for h in held] == [
        ("n", 900.0, False), ("m", 100.0, False), ("o", 0.0, True),
    ]  # fmt: skip
    assert all(h.ours and h.surplus for h in held)
    at.leave(view, M)
    assert not at.has(view, M)


def test_a_newcomer_below_its_guarantee_is_short() -> None:
    rules = ModelRules(min_replicas=2, max_replicas=2, guaranteed=True)
    wanted = desired("m", rules)
    wanted = type(wanted)(wanted.config, wanted.digest, replicas=2, rules=rules)
    assert board(neuron("n1", m=LOADED)).newcomer(wanted).short
    assert not board(neuron("n1", m=LOADED), neuron("n2", m=LOADED)).newcomer(wanted).short
    assert board(neuron("n1")).neuron(NeuronId("n1")).descriptor.id == "n1"


def test_a_model_that_is_told_to_leave_in_this_reconcile_is_told_once() -> None:
    """Found by the simulated world: two that waited were promised the room of the same third."""
    view = neuron("n1", m=instance(ModelState.LOADED, GIB))
    at = board(view)
    assert not at.leaves(view, M)
    at.leave(view, M)
    assert at.leaves(view, M)
    (held,) = at.held_on(view)
    assert held.leaving


def test_as_many_replicas_are_there_by_forecast_alone_as_are_not_needed_and_not_used() -> None:
    assert LOADED.status is not None
    busy = replace(LOADED, status=msgspec.structs.replace(LOADED.status, active_requests=1))
    views = [neuron("n1", m=busy), neuron("n2", m=LOADED), neuron("n3", m=LOADED)]
    wanted = replace(desired("m"), replicas=3, warm=4, ahead=1)
    at = board(*views, models=(wanted,))
    assert [at.held_on(view)[0].ahead for view in views] == [False, True, True]
    assert all(at.held_on(view)[0].warm for view in views)
    at.leave(views[1], M)
    assert not at.held_on(views[2])[0].ahead, "one has gone, and the others are needed"
    assert at.newcomer(wanted).forecast, "four are expected, and two are left of three"
    assert not at.newcomer(replace(wanted, warm=2)).forecast
