"""What is noted of a change, and that a snapshot made of changes is the whole one."""

from dataclasses import replace

import msgspec
from hypothesis import given, settings

from helexa.cortex.orchestrator import events as ev
from helexa.cortex.orchestrator.circuit import Circuit
from helexa.cortex.orchestrator.fleet import FleetState
from helexa.cortex.orchestrator.ledger import Ledger, only_numbers_differ
from helexa.cortex.orchestrator.provisioner import reconcile
from helexa.cortex.orchestrator.snapshot import FleetSnapshot, Instance
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.neuron import NeuronHealth, NeuronLoad
from tests.fakes.fleet import fleet, joined, model, register, status
from tests.fakes.fleet_events import STEPS, Step, event_of

N1, M = NeuronId("n1"), ModelId("m")
LOADED = Instance(status=status(model()), known_digest="d")


def _with_status(**fields: object) -> Instance:
    return replace(LOADED, status=msgspec.structs.replace(LOADED.status, **fields))  # type: ignore[type-var]


def _beat(state: FleetState, number: int, *statuses: object, now: float = 1.0) -> None:
    beat = ev.NeuronBeat(
        NeuronId(f"n{number}"),
        number,
        NeuronHealth(),
        NeuronLoad(active_requests=number),
        statuses,  # type: ignore[arg-type]
    )
    state.apply([beat], now)


def test_request_counts_and_countdowns_are_only_numbers() -> None:
    assert only_numbers_differ(LOADED, _with_status(active_requests=7, waiting_requests=1))
    assert only_numbers_differ(LOADED, _with_status(retry_after_s=3.0))


def test_states_waits_and_commands_are_more_than_numbers() -> None:
    assert not only_numbers_differ(LOADED, _with_status(state=ModelState.FAILED))
    assert not only_numbers_differ(LOADED, _with_status(capability=None))
    assert not only_numbers_differ(LOADED, replace(LOADED, not_before_s=9.0))
    assert not only_numbers_differ(LOADED, replace(LOADED, circuit=Circuit(failed=1.0)))
    assert not only_numbers_differ(LOADED, replace(LOADED, status=None))


def test_who_has_a_model_is_known_until_it_is_dropped() -> None:
    ledger = Ledger()
    assert not ledger
    ledger.put(N1, M, None, LOADED)
    assert ledger.holders == {M: {N1}}
    assert ledger.plan
    ledger.clear()
    assert ledger.holders == {M: {N1}}
    assert not ledger
    ledger.put(N1, M, LOADED, _with_status(active_requests=2))
    assert ledger.loads == {(M, N1)}
    assert not ledger.plan
    ledger.drop(N1, M)
    ledger.drop(N1, M)
    assert not ledger.holders
    assert ledger.plan


def test_a_heartbeat_that_says_nothing_new_remakes_no_model_and_plans_nothing() -> None:
    state = fleet(model("m"), model("unserved", engine="other"))
    for number in (1, 2):
        state.apply([joined(number, register(f"n{number}", status(model("m"))))], 0.0)
    state.issue(reconcile(state.snapshot(0.0), 0.0), 0.0)
    before = state.snapshot(0.0)
    state.issue([], 0.0)
    _beat(state, 1, status(model("m")))
    after = state.snapshot(1.0)
    assert after.neurons["n1"].load.active_requests == 1
    assert all(after.models[key] is before.models[key] for key in before.models)
    assert after.neurons["n2"] is before.neurons["n2"]
    assert after.names is before.names
    assert not state.plan_is_due(1.0)


def test_a_heartbeat_with_new_request_counts_changes_that_replica_alone() -> None:
    state = fleet(model("m"))
    for number in (1, 2):
        state.apply([joined(number, register(f"n{number}", status(model("m"))))], 0.0)
    before = state.snapshot(0.0).models["m"]
    _beat(state, 2, status(model("m"), active_requests=5))
    after = state.snapshot(1.0).models["m"]
    assert [r.active_requests for r in after.replicas] == [0, 5]
    assert after.replicas[0] is before.replicas[0]


def test_a_plan_is_due_until_it_is_issued() -> None:
    state = fleet(model("m"))
    assert state.plan_is_due(0.0)
    state.issue([], 0.0)
    assert not state.plan_is_due(0.0)
    state.apply([joined(1, register("n1"))], 1.0)
    assert state.plan_is_due(1.0)
    state.issue(reconcile(state.snapshot(1.0), 1.0), 1.0)
    assert state.plan_is_due(1.0), "its own command is new to it"


def _whole(state: FleetState, now: float) -> FleetSnapshot:
    state._changed = True
    return state.snapshot(now)


@given(STEPS)
@settings(deadline=None)
def test_a_snapshot_made_of_changes_is_the_whole_one(steps: list[Step]) -> None:
    """R2.35: whatever happens, what is kept from the last snapshot is still true."""
    state = fleet(model("a"), model("b"))
    for now, step in enumerate(steps):
        plan = state.snapshot(now * 3.0).plan
        state.apply([event_of(step, state, now * 3.0)], now * 3.0)
        if state.plan_is_due(now * 3.0):
            state.issue(reconcile(state.snapshot(now * 3.0), now * 3.0), now * 3.0)
        part = state.snapshot(now * 3.0)
        whole = _whole(state, now * 3.0)
        assert part.names == whole.names
        assert part.desired == whole.desired
        assert part.neurons == whole.neurons
        for key, view in part.models.items():
            if view.replicas or part.plan > plan:  # why there is none is as of the last plan
                assert view == whole.models[key]
