"""Reconciling as scripts, and as properties: it converges, falls silent, and never over-books."""

from types import MappingProxyType

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helexa.cortex.orchestrator.commands import Provision
from helexa.cortex.orchestrator.events import (
    CommandAnswered,
    DesiredChanged,
    ModelReported,
    NeuronBeat,
    NeuronGone,
    NeuronHeard,
    Tick,
)
from helexa.cortex.orchestrator.fleet import FleetState
from helexa.cortex.orchestrator.policy import REPLACE_AFTER_S
from helexa.cortex.orchestrator.provisioner import reconcile
from helexa.protocol.control import LoadModel, ProvisioningResponse, UnloadModel, UpsertModelConfig
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.neuron import NeuronHealth, NeuronLoad
from tests.fakes.fleet import GIB, fleet, joined, model, register, status
from tests.fakes.fleet_world import FleetWorld
from tests.fakes.neuron_model import ModelNeuron

N1, N2, M = NeuronId("n1"), NeuronId("n2"), ModelId("m")


def asked(state: FleetState, now: float) -> list[tuple[str, str]]:
    provisions = reconcile(state.snapshot(now), now)
    return [(p.neuron_id, type(p.command).__name__) for p in provisions]


def test_a_model_that_is_held_is_left_alone() -> None:
    """A cortex restart never reloads: the register report is the truth."""
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    assert asked(state, 0.0) == []


def test_a_known_config_is_not_sent_again_before_the_load() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model(), ModelState.UNLOADED)))], 0.0)
    assert asked(state, 0.0) == [("n1", "LoadModel")]


def test_a_changed_config_is_sent_but_a_running_model_keeps_running() -> None:
    newer = model("m", options={"rate": 2})
    state = fleet(newer)
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    (upsert,) = state.issue(reconcile(state.snapshot(0.0), 0.0), 0.0)
    assert upsert.command == UpsertModelConfig(config=newer)
    assert state.snapshot(0.0).models["m"].outdated


def test_aliases_alone_change_nothing_on_a_neuron() -> None:
    state = fleet(model("m", aliases=("other",)))
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    assert asked(state, 0.0) == []


def test_several_replicas_go_to_several_neurons() -> None:
    """R2.31."""
    state = fleet()
    state.apply([DesiredChanged(models=(model(),), replicas_min={M: 2})], 0.0)
    state.apply([joined(1, register("n1")), joined(2, register("n2"))], 0.0)
    assert sorted(asked(state, 0.0)) == [
        ("n1", "UpsertModelConfig"), ("n2", "UpsertModelConfig"),
    ]  # fmt: skip


def test_a_vanished_neuron_is_given_time_to_come_back() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model()))), joined(2, register("n2"))], 0.0)
    state.apply([NeuronGone(N1, 1, "closed")], 1.0)
    assert asked(state, 1.0) == []
    later = 1.0 + REPLACE_AFTER_S
    state.apply([NeuronHeard(N2, 2, later), Tick()], later)
    assert asked(state, later) == [("n2", "UpsertModelConfig")]


def test_a_model_that_the_neuron_itself_restarts_is_not_loaded_elsewhere() -> None:
    state = fleet(model())
    failed = status(model(), ModelState.FAILED, failures=1, retry_after_s=4.0)
    state.apply([joined(1, register("n1", status(model()))), joined(2, register("n2"))], 0.0)
    state.apply([ModelReported(N1, 1, failed)], 1.0)
    assert asked(state, 1.0) == []
    assert state.snapshot(1.0).models["m"].loading
    assert "recovering" in state.snapshot(1.0).models["m"].because


def test_a_model_that_a_neuron_gave_up_goes_elsewhere_at_once() -> None:
    state = fleet(model())
    failed = status(model(), ModelState.FAILED, failures=3)
    state.apply([joined(1, register("n1", status(model()))), joined(2, register("n2"))], 0.0)
    state.apply([ModelReported(N1, 1, failed)], 1.0)
    assert asked(state, 1.0) == [("n2", "UpsertModelConfig")]


def test_a_repeated_report_of_one_failure_starts_no_new_wait() -> None:
    state = fleet(model())
    failed = status(model(), ModelState.FAILED, failures=1, because="exit 1")
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    state.apply([ModelReported(N1, 1, failed)], 1.0)
    for now in (1.5, 2.0, 2.5):
        state.apply([NeuronBeat(N1, 1, NeuronHealth(), NeuronLoad(), (failed,))], now)
    assert asked(state, 2.5) == []
    assert asked(state, 3.0) == [("n1", "LoadModel")]


def test_only_what_this_cortex_put_there_is_taken_away() -> None:
    """A model that somebody else loaded stays; ours goes when nobody wants it any more."""
    ours, theirs = model("ours"), model("theirs")
    state = fleet(ours)
    state.apply([joined(1, register("n1", status(ours, ModelState.UNLOADED), status(theirs)))], 0.0)
    (load,) = state.issue(reconcile(state.snapshot(0.0), 0.0), 0.0)
    assert isinstance(load.command, LoadModel)
    state.apply([ModelReported(N1, 1, status(ours, ModelState.LOADING))], 1.0)
    state.apply([ModelReported(N1, 1, status(ours))], 2.0)
    state.apply([DesiredChanged(models=())], 3.0)
    (unload,) = state.issue(reconcile(state.snapshot(3.0), 3.0), 3.0)
    assert unload.command == UnloadModel(model_id=ModelId("ours"), forget=True)
    assert reconcile(state.snapshot(3.0), 3.0) == []
    state.apply([NeuronBeat(N1, 1, NeuronHealth(), NeuronLoad(), (status(theirs),))], 14.0)
    state.apply([Tick()], 14.0)
    assert reconcile(state.snapshot(14.0), 14.0) == []


def test_a_model_that_its_neuron_was_made_to_forget_is_given_its_config_again() -> None:
    """Found by the simulated world: what was unwanted for a moment was asked to load for ever."""
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    state.apply([DesiredChanged(models=())], 1.0)
    view = state.snapshot(1.0).neurons[N1].instances[M]
    (unload,) = state.issue([Provision(N1, M, UnloadModel(model_id=M, forget=True))], 1.0)
    assert view.known_digest
    state.apply([DesiredChanged(models=(model(),))], 2.0)
    answer = ProvisioningResponse(command_id=unload.command_id, model_id=M, accepted=True)
    state.apply([CommandAnswered(N1, 1, answer)], 2.0)
    state.apply([NeuronBeat(N1, 1, NeuronHealth(), NeuronLoad(), ())], 3.0)
    state.apply([NeuronHeard(N1, 1, 30.0), Tick()], 30.0)
    assert asked(state, 30.0) == [("n1", "UpsertModelConfig")]


def test_a_model_that_is_going_down_is_not_loaded_before_it_is_down() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model(), ModelState.UNLOADING)))], 0.0)
    assert asked(state, 0.0) == []
    state.apply([ModelReported(N1, 1, status(model(), ModelState.UNLOADED))], 1.0)
    assert asked(state, 1.0) == [("n1", "LoadModel")]


def test_a_snapshot_is_not_changed_by_reconciling_it() -> None:
    state = fleet(model("a"), model("b"))
    state.apply([joined(1, register("n1"))], 0.0)
    snapshot = state.snapshot(0.0)
    assert isinstance(snapshot.neurons, MappingProxyType)
    assert reconcile(snapshot, 0.0) == reconcile(snapshot, 0.0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    budgets=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    needs=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
)
def test_reconciling_converges_then_is_silent_and_never_over_commits(
    budgets: list[int], needs: list[int], seed: int
) -> None:
    """R2.28; the world checks memory at every step."""
    world = FleetWorld(seed)
    sizes = {f"m{i}": need * GIB for i, need in enumerate(needs)}
    world.want(*(model(name) for name in sizes))
    for number, budget in enumerate(budgets):
        world.add(ModelNeuron(f"n{number}", budget_bytes=budget * GIB, needs=lambda m: sizes[m]))
    world.run(120)
    quiet_from = len(world.provisions)
    world.run(120)
    assert len(world.provisions) == quiet_from, "silent once it is as good as it gets"
    for name, size in sizes.items():
        if world.replicas(name):
            continue
        view = world.snapshot.models[name]
        assert view.unplaceable, view
        for neuron in world.neurons.values():
            assert neuron.memory_bytes() + size > neuron.budget_bytes, "it would have fitted"
