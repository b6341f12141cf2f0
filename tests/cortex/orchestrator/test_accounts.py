"""What is kept of each neuron from plan to plan is what would be found by looking anew."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from helexa.cortex.orchestrator.accounts import Accounts, mixed
from helexa.cortex.orchestrator.board import Board
from helexa.cortex.orchestrator.holding import holds
from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.policy import REPLACE_AFTER_S
from helexa.cortex.orchestrator.provisioner import reconcile
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from tests.fakes.fleet import GIB, fleet, joined, model, register
from tests.fakes.fleet_events import NAMES, STEPS, Step, event_of
from tests.fakes.views import NeuronView, instance, neuron

M, N = ModelId("m"), ModelId("n")
LOADED = instance(ModelState.LOADED, GIB)
UNMEASURED = instance(ModelState.LOADED, None)


def accounts(*views: NeuronView, now: float = 0.0) -> Accounts:
    return Board.anew(views, {}, fleet().snapshot(0.0).outlook, now).accounts


def told(found: Accounts) -> dict[str, Any]:
    """Return everything that a plan may ask of accounts."""
    return {
        "names": found.names(),
        "booked": found.booked,
        "occupied": found.occupied,
        "having": found.having,
        "holders": found.holders,
        "promised": found.promised,
        "ours": found.ours,
        "serving": found.serving,
        "digests": found.digests,
        "draining": found.draining,
        "needs": found.needs,
        "keys": {name: found.key(name) for name in found.names()},
        "echo": list(found.emptiest("echo", 7)),
        "other": list(found.emptiest("other", 7)),
    }


@given(STEPS, st.sampled_from([0.5, 1.0, 3.0, 7.3, 40.0]))
@settings(max_examples=300, deadline=None)
def test_what_is_kept_is_what_would_be_found_anew(steps: list[Step], each_s: float) -> None:
    """Whatever happens: the board, and what is planned on it."""
    state = fleet(*map(model, NAMES[:2]))
    state.apply([joined(n, register(f"n{n}")) for n in (1, 2)], 0.0)
    for number, step in enumerate(steps):
        now = number * each_s
        state.apply([event_of(step, state, now)], now)
        snapshot = state.snapshot(now)
        assert told(state.board(now).accounts) == told(Board.of(snapshot, now).accounts)
        if state.plan_is_due(now):
            planned = reconcile(snapshot, now, state.board(now))
            assert planned == reconcile(snapshot, now)
            if number % 3:
                state.issue(planned, now)


def test_what_a_plan_booked_is_taken_back_with_the_next_look() -> None:
    view = neuron("n1", m=LOADED, n=instance(ModelState.UNLOADED, 2 * GIB))
    found = accounts(view)
    before = told(found)
    found.book(view, N)
    assert found.leave(view, M) == GIB
    found.reserve(view, ModelId("o"), 0)
    assert (found.booked, found.holders) == ({"n1": 3 * GIB}, {"n": {"n1"}, "o": {"n1"}})
    found.update({NeuronId("n1"): view}, 0.0)
    assert told(found) == before


def test_what_one_neuron_measures_counts_on_those_that_have_not() -> None:
    small, big = neuron("n1", m=LOADED), neuron("n2", m=UNMEASURED)
    found = accounts(small, big)
    assert found.booked == {"n1": GIB, "n2": GIB}
    grown = neuron("n1", m=instance(ModelState.LOADED, 3 * GIB))
    found.touch([NeuronId("n1")])
    found.update({NeuronId("n1"): grown, NeuronId("n2"): big}, 1.0)
    assert found.booked == {"n1": 3 * GIB, "n2": 3 * GIB}
    found.touch([NeuronId("n1")])
    found.update({NeuronId("n2"): big}, 2.0)
    assert (found.booked, found.needs) == ({"n2": 0}, {})


def test_a_promise_grows_with_what_others_measure_of_the_newcomer() -> None:
    leaves = neuron("n1", m=instance(ModelState.UNLOADING, GIB, makes_room_for=N))
    found = accounts(leaves, neuron("n2", n=instance(ModelState.LOADED, 3 * GIB)))
    assert found.booked["n1"] == 3 * GIB
    found.touch([NeuronId("n2")])
    grown = neuron("n2", n=instance(ModelState.LOADED, 5 * GIB))
    found.update({NeuronId("n1"): leaves, NeuronId("n2"): grown}, 1.0)
    assert found.booked["n1"] == 5 * GIB


def test_a_neuron_that_is_drained_no_more_counts_again() -> None:
    found = accounts(neuron("n1", draining=True))
    assert (found.draining, list(found.emptiest("echo", 0))) == ({"n1"}, [])
    found.touch([NeuronId("n1")])
    found.update({NeuronId("n1"): neuron("n1")}, 1.0)
    assert (found.draining, list(found.emptiest("echo", 0))) == (set(), ["n1"])


def test_a_vanished_neuron_lets_go_by_time_alone() -> None:
    view = neuron("n1", state=NeuronState.GONE, m=LOADED)
    found = accounts(view, now=1.0)
    assert found.holders == {"m": {"n1"}}
    found.update({NeuronId("n1"): view}, REPLACE_AFTER_S)
    assert not holds(view, M, REPLACE_AFTER_S)
    assert not found.holders


def test_the_emptiest_come_first_and_equals_in_an_order_that_each_model_has_for_itself() -> None:
    views = [neuron(f"n{n}", (4 + n % 2 * 4) * GIB) for n in range(60)]
    views.append(neuron("cordoned", 64 * GIB, cordoned=True))
    views.append(neuron("gone", 64 * GIB, state=NeuronState.GONE))
    views.append(neuron("other", 64 * GIB, ("other",)))
    found = accounts(*views)
    firsts = set()
    for name in map(str, range(40)):
        salt = mixed(name)
        able = [v for v in views if v.descriptor.id[0] == "n"]
        able.sort(
            key=lambda v: (-v.capabilities.memory_budget_bytes, mixed(v.descriptor.id) ^ salt)
        )
        assert list(found.emptiest("echo", salt)) == [v.descriptor.id for v in able]
        firsts.add(able[0].descriptor.id)
    assert len(firsts) > 12, "models are shared out"
    assert list(found.emptiest("other", 0)) == ["other"]
    assert not list(found.emptiest("none", 0))


def test_who_is_given_something_stands_further_back_from_then_on() -> None:
    views = [neuron(f"n{n}", m=instance(ModelState.UNLOADED, GIB)) for n in range(3)]
    found = accounts(*views)
    first = next(found.emptiest("echo", 0))
    found.book(found.views[first], M)
    assert list(found.emptiest("echo", 0))[-1] == first
