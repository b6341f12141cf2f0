"""Reconciling as scripts, and as properties: it converges, falls silent, and never over-books."""

from dataclasses import replace
from types import MappingProxyType

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helexa.cortex.control_plane.memory import events_of, memory_of
from helexa.cortex.orchestrator.commands import Provision
from helexa.cortex.orchestrator.demand import DemandSample
from helexa.cortex.orchestrator.events import (
    CapabilitiesChanged,
    CommandAnswered,
    DemandSampled,
    DesiredChanged,
    ModelPinned,
    ModelReported,
    ModelUnwanted,
    ModelWanted,
    NeuronBeat,
    NeuronGone,
    NeuronHeard,
    Tick,
)
from helexa.cortex.orchestrator.fleet import FleetState
from helexa.cortex.orchestrator.policy import REPLACE_AFTER_S, SURPLUS_S, FleetPolicy
from helexa.cortex.orchestrator.provisioner import by_need, reconcile
from helexa.cortex.orchestrator.rules import ModelRules, Priority, ProvisioningPolicy
from helexa.cortex.orchestrator.snapshot import DesiredModel
from helexa.protocol.control import LoadModel, ProvisioningResponse, UnloadModel, UpsertModelConfig
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelConfig
from helexa.protocol.neuron import NeuronHealth, NeuronLoad
from tests.fakes.fleet import CHAT, GIB, expected_at_nine, fleet, joined, model, register, status
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
    state.apply(
        [DesiredChanged(models=(model(),), rules={M: ModelRules(min_replicas=2, max_replicas=2)})],
        0.0,
    )
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


KEEP_ALIVE_S = 100.0


def lent(*others: ModelConfig) -> FleetState:
    """A fleet whose neuron has a config of `m` that no config of cortex names; `m` was loaded on
    request at 2 s."""
    policy = FleetPolicy(provisioning=ProvisioningPolicy(keep_alive_s=KEEP_ALIVE_S))
    state = fleet(*others, policy=policy, rules=ModelRules(min_replicas=0))
    known = [status(config, ModelState.UNLOADED) for config in (model(), *others)]
    state.apply([joined(1, register("n1", *known))], 0.0)
    state.snapshot(0.0)
    state.apply([ModelWanted(M, "request-1")], 0.0)
    (load,) = state.issue(reconcile(state.snapshot(0.0), 0.0), 0.0)
    assert isinstance(load.command, LoadModel)
    state.apply([ModelReported(N1, 1, status(model(), ModelState.LOADING))], 1.0)
    state.apply([ModelReported(N1, 1, status(model()))], 2.0)
    return state


def beat_of(state: FleetState, now: float) -> list[Provision]:
    """Let the neuron be heard, and a tick pass; return what is asked for then, if a plan is due."""
    heard = NeuronBeat(N1, 1, NeuronHealth(), NeuronLoad(), (status(model()),))
    state.apply([heard, Tick()], now)
    due = state.plan_is_due(now)
    return state.issue(reconcile(state.snapshot(now), now), now) if due else []


def test_a_model_that_only_a_neuron_knows_leaves_by_the_default_keep_alive() -> None:
    """Its config is the neuron's own, and stays there."""
    state = lent()
    assert beat_of(state, 2.0 + KEEP_ALIVE_S - 1.0) == []
    (unload,) = beat_of(state, 2.0 + KEEP_ALIVE_S)
    assert unload.command == UnloadModel(model_id=M)
    assert unload.cause == "idle for 100 s"


def test_a_model_that_only_a_neuron_knows_stays_while_it_is_used() -> None:
    state = lent()
    state.apply([DemandSampled((DemandSample(M, arrivals=1, in_flight=1),))], 50.0)
    assert beat_of(state, 500.0) == [], "in use"
    state.apply([DemandSampled((DemandSample(M, finished=1),))], 510.0)
    assert beat_of(state, 510.0 + KEEP_ALIVE_S - 1.0) == []
    for_ever = ProvisioningPolicy(keep_alive_s=None)
    state.apply([DesiredChanged(models=(), policy=for_ever)], 600.0)
    assert beat_of(state, 5000.0) == []


def test_what_somebody_else_loaded_from_a_neuron_s_own_config_is_left_alone() -> None:
    state = fleet(policy=FleetPolicy(provisioning=ProvisioningPolicy(keep_alive_s=KEEP_ALIVE_S)))
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    state.snapshot(0.0)
    assert beat_of(state, 10_000.0) == []


def test_a_pinned_model_that_only_a_neuron_knows_does_not_leave() -> None:
    state = lent()
    state.apply([ModelPinned(M, pinned=True)], 3.0)
    assert beat_of(state, 10_000.0) == []
    state.apply([ModelPinned(M, pinned=False)], 10_001.0)
    (unload,) = beat_of(state, 10_002.0)
    assert unload.command == UnloadModel(model_id=M)


def test_a_model_that_was_loaded_on_request_makes_room_like_any_other() -> None:
    other = model("other")
    state = lent(other)
    small = register("n1", status(model()), budget_bytes=GIB)
    state.apply(
        [
            CapabilitiesChanged(
                N1, 1, small.capabilities, (status(model()), status(other, ModelState.UNLOADED))
            )
        ],
        10.0,
    )
    state.snapshot(10.0)
    state.apply([ModelWanted(ModelId("other"), "request-2")], 20.0)
    (unload,) = state.issue(reconcile(state.snapshot(20.0), 20.0), 20.0)
    assert (unload.model_id, unload.makes_room_for) == ("m", "other")


def test_what_was_lent_is_remembered_over_a_restart_of_cortex() -> None:
    memory = memory_of(lent().snapshot(2.0))
    again = fleet(policy=FleetPolicy(provisioning=ProvisioningPolicy(keep_alive_s=KEEP_ALIVE_S)))
    again.apply(events_of(memory), 0.0)
    again.apply([joined(1, register("n1", status(model())))], 1.0)
    again.snapshot(1.0)
    assert beat_of(again, 50.0) == []
    (unload,) = beat_of(again, 1.0 + KEEP_ALIVE_S)
    assert unload.command == UnloadModel(model_id=M)


def test_an_unload_that_was_refused_waits_before_it_is_asked_for_again() -> None:
    """A neuron that shuts down refuses everything; it was asked again with each of its answers."""
    state = fleet(model())
    state.apply([joined(1, register("n1"))], 0.0)
    (upsert,) = state.issue(reconcile(state.snapshot(0.0), 0.0), 0.0)
    said = ProvisioningResponse(command_id=upsert.command_id, model_id=M, accepted=True)
    state.apply([CommandAnswered(N1, 1, said), ModelReported(N1, 1, status(model()))], 0.0)
    state.apply([DesiredChanged(models=())], 1.0)
    for now, refusals in ((1.0, 1), (3.5, 2)):
        (unload,) = state.issue(reconcile(state.snapshot(now), now), now)
        assert isinstance(unload.command, UnloadModel)
        no = ProvisioningResponse(
            command_id=unload.command_id, model_id=M, accepted=False, because="is shutting down"
        )
        beat = NeuronBeat(N1, 1, NeuronHealth(), NeuronLoad(), (status(model()),))
        state.apply([CommandAnswered(N1, 1, no), beat, Tick()], now)
        assert state.snapshot(now).neurons[N1].instances[M].refusals == refusals
        assert asked(state, now + 0.1) == []
    state.apply([Tick()], 8.0)
    assert state.plan_is_due(8.0)
    assert asked(state, 8.0) == [("n1", "UnloadModel")]


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


# ── making room ───────────────────────────────────────────────────────────────────────────────

ON_DEMAND = ModelRules(min_replicas=0, keep_alive_s=600.0)
A, B = ModelId("a"), ModelId("b")


def swapping(seed: int = 1, **rules: ModelRules) -> FleetWorld:
    """Return a world with one neuron on which only one of the models a and b fits."""
    world = FleetWorld(seed)
    asked = {"a": ON_DEMAND, "b": ON_DEMAND} | rules
    world.want(model("a"), model("b"), rules=asked)
    world.add(ModelNeuron("n1", budget_bytes=2 * GIB, needs=lambda _m: 2 * GIB))
    world.run(5)
    return world


def ask(world: FleetWorld, model_id: str) -> float:
    """Ask for a model as a held request does; return how long it took to come."""
    world.happen(ModelWanted(ModelId(model_id), f"request for {model_id}"))
    return world.run_until(lambda: bool(world.replicas(model_id)), 60)


def test_an_idle_model_makes_room_for_one_that_is_asked_for_and_comes_back_when_asked() -> None:
    """R2.39, R6.13: swaps work both ways."""
    world = swapping()
    ask(world, "a")
    world.run(30)
    ask(world, "b")
    assert not world.replicas("a")
    unload = next(p for p in world.provisions if isinstance(p.command, UnloadModel))
    assert (unload.model_id, unload.cause) == (A, "makes room for b")
    assert not unload.command.forget, "it may come back"
    world.run(30)
    ask(world, "a")
    assert not world.replicas("b")


def test_a_model_that_had_to_go_does_not_push_its_way_back() -> None:
    """No ping-pong: loaded ahead is not asked for."""
    preloaded = ModelRules()
    world = swapping(a=preloaded, b=preloaded)
    world.run(30)
    (first,) = [name for name in "ab" if world.replicas(name)]
    other = "b" if first == "a" else "a"
    ask(world, other)
    asked = len(world.provisions)
    world.run(300)
    assert world.replicas(other)
    assert len(world.provisions) == asked


def test_a_guaranteed_model_is_not_displaced_by_its_own_class() -> None:
    world = swapping(a=ModelRules(min_replicas=1, guaranteed=True))
    world.run_until(lambda: bool(world.replicas("a")), 30)
    world.run(30)
    world.happen(ModelWanted(B, "request"))
    world.run(60)
    assert world.replicas("a")
    assert not world.replicas("b")
    because = world.snapshot.models["b"].because
    assert "needs 2.0 GiB; best free 0 MiB on n1" in because
    assert "would fit if a, idle" in because
    assert "left (it is kept by min_replicas 1)" in because


def test_a_guaranteed_model_of_a_higher_class_takes_the_place_of_a_lower() -> None:
    world = swapping()
    ask(world, "a")
    world.run(30)
    high = ModelRules(min_replicas=1, guaranteed=True, priority=Priority.HIGH)
    world.want(model("a"), model("b"), rules={"a": ON_DEMAND, "b": high})
    world.run_until(lambda: bool(world.replicas("b")), 30)
    world.happen(ModelWanted(A, "request"))
    world.run(60)
    assert world.replicas("b")


def test_a_pinned_model_stays() -> None:
    world = swapping()
    ask(world, "a")
    world.happen(ModelPinned(A, pinned=True))
    world.run(30)
    world.happen(ModelWanted(B, "request"))
    world.run(60)
    assert world.replicas("a")
    assert "pinned" in world.snapshot.models["b"].because


def test_a_model_in_use_has_its_turn_and_then_makes_room() -> None:
    """Requests of the loaded model go first, together, for at most hold_max_s."""
    world = swapping()
    ask(world, "a")
    world.run(5)
    busy = DemandSampled((DemandSample(A, arrivals=1, finished=1, service_s=1.0, in_flight=2),))
    world.happen(busy)
    world.happen(ModelWanted(B, "request"))
    start = world.now
    while not world.replicas("b"):
        world.happen(busy)
        world.run(1)
        assert world.now - start < 60
    assert world.now - start >= world.snapshot.outlook.policy.hold_max_s


def test_who_may_displace_others_for_what_it_is_guaranteed_comes_before_them() -> None:
    """Found by the simulated world: who was displaced took the room back at once, for ever."""
    state = fleet()
    rules = {ModelId("sure"): ModelRules(min_replicas=1, guaranteed=True)}
    state.apply([DesiredChanged(models=(model("a"), model("sure")), rules=rules)], 0.0)
    asked_for = DemandSample(A, arrivals=9, finished=9, service_s=1.0)
    state.apply([joined(1, register("n1")), DemandSampled((asked_for,))], 1.0)
    assert [m.config.id for m in by_need(state.snapshot(1.0))] == ["sure", "a"]
    loaded = register("n2", status(model("sure")))
    state.apply([joined(2, loaded)], 2.0)
    assert [m.config.id for m in by_need(state.snapshot(2.0))] == ["a", "sure"]


def test_the_room_that_is_made_goes_to_nobody_else() -> None:
    """Two models leave for a large one; a small one that is asked for meanwhile waits."""
    world = FleetWorld(7)
    sizes = {"a": GIB, "b": GIB, "big": 2 * GIB, "small": GIB}
    world.want(*(model(name) for name in sizes), rules=dict.fromkeys(sizes, ON_DEMAND))
    world.add(ModelNeuron("n1", budget_bytes=2 * GIB, needs=lambda m: sizes[m]))
    world.run(3)
    ask(world, "a")
    ask(world, "b")
    world.run(30)
    world.happen(ModelWanted(ModelId("big"), "request"))
    world.happen(ModelWanted(ModelId("small"), "request"))
    world.run_until(lambda: bool(world.replicas("big")), 40)


def test_no_more_models_than_allowed_are_on_one_neuron() -> None:
    """R6.6."""
    world = FleetWorld(3)
    names = ("a", "b", "c")
    world.want(
        *map(model, names),
        rules=dict.fromkeys(names, ON_DEMAND),
        policy=ProvisioningPolicy(models_per_neuron_max=2),
    )
    world.add(ModelNeuron("n1"))
    world.run(3)
    ask(world, "a")
    ask(world, "b")
    world.run(60)
    ask(world, "c")
    assert sorted(name for name in names if world.replicas(name)) in (["a", "c"], ["b", "c"])


# ── how many ──────────────────────────────────────────────────────────────────────────────────


def test_more_than_one_replica_bears_brings_another_and_less_takes_it_back() -> None:
    """R6.13, R6.14, R6.15, R2.32."""
    world = FleetWorld(5)
    world.want(model("a"), rules={"a": ModelRules(max_replicas=3)})
    for name in ("n1", "n2"):
        world.add(ModelNeuron(name))
    world.run_until(lambda: bool(world.replicas("a")), 30)
    rush = DemandSampled((DemandSample(A, arrivals=3, finished=3, service_s=6.0, in_flight=6),))
    for _ in range(90):
        world.happen(rush)
        world.run(1)
    assert len(world.replicas("a")) == 2, "the third fits nowhere"
    for _ in range(1200):
        world.happen(DemandSampled(()))
        world.run(1)
    assert len(world.replicas("a")) == 1
    loads = sum(len(n.loads_started) for n in world.neurons.values())
    assert loads == 2, "up once and down once"


def test_what_was_asked_for_most_is_loaded_first() -> None:
    """R2.30: hot models first, then weight."""
    state = fleet()
    state.apply([
        DemandSampled((DemandSample(A, arrivals=5), DemandSample(B, arrivals=500))),
        DesiredChanged(models=(model("a"), model("b"), model("c"), model("d")), rules={
            ModelId("d"): ModelRules(weight=2.0),
        }),
    ], 1.0)  # fmt: skip
    assert [m.config.id for m in by_need(state.snapshot(1.0))] == ["b", "a", "d", "c"]


def test_what_is_only_forecast_has_its_turn_after_everybody_else() -> None:
    state = expected_at_nine(ModelRules(min_replicas=0))
    wanted = state.snapshot(0.0)
    assert wanted.desired[M].ahead == 1
    high = replace(wanted.desired[M], rules=ModelRules(min_replicas=0, priority=Priority.HIGH))
    low = DesiredModel(model("low"), model("low").digest(), rules=ModelRules(priority=Priority.LOW))
    both = replace(wanted, desired={M: high, ModelId("low"): low})
    assert [m.config.id for m in by_need(both)] == ["low", "m"]
    asked_for = replace(both, desired={**both.desired, M: replace(high, ahead=0)})
    assert [m.config.id for m in by_need(asked_for)] == ["m", "low"]


def test_a_replica_too_many_leaves_a_cordoned_neuron_first_and_then_the_least_used() -> None:
    state = fleet()
    rules = {M: ModelRules(max_replicas=3)}
    state.apply([DesiredChanged(models=(model(),), rules=rules)], 0.0)
    state.apply([
        joined(1, register("n1", status(model()))),
        joined(2, register("n2", status(model(), active_requests=5))),
        joined(3, register("n3", status(model(), active_requests=1))),
    ], 0.0)  # fmt: skip
    assert asked(state, 0.0) == []
    snapshot = state.snapshot(SURPLUS_S)
    assert [(p.neuron_id, type(p.command)) for p in reconcile(snapshot, SURPLUS_S)] == [
        ("n1", UnloadModel), ("n3", UnloadModel),
    ]  # fmt: skip
    view = replace(snapshot.neurons[N2], cordoned=True)
    marked = replace(snapshot, neurons=dict(snapshot.neurons) | {N2: view})
    assert [p.neuron_id for p in reconcile(marked, SURPLUS_S)] == ["n2", "n1"]


def test_nothing_is_placed_on_a_cordoned_neuron() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1"))], 0.0)
    snapshot = state.snapshot(0.0)
    view = replace(snapshot.neurons[N1], cordoned=True)
    assert reconcile(replace(snapshot, neurons={N1: view}), 0.0) == []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 1000),
    budgets=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    needs=st.lists(st.integers(1, 3), min_size=2, max_size=5),
    pinned=st.integers(0, 4),
    calls=st.lists(st.tuples(st.integers(0, 4), st.floats(0.5, 30.0)), max_size=12),
)
def test_swapping_never_over_commits_and_never_evicts_what_is_pinned_or_higher(
    seed: int, budgets: list[int], needs: list[int], pinned: int, calls: list[tuple[int, float]]
) -> None:
    """The world checks memory at every step."""
    world = FleetWorld(seed)
    sizes = {f"m{i}": need * GIB for i, need in enumerate(needs)}
    rules = {
        name: replace(ON_DEMAND, priority=Priority(n % 3), pinned=n == pinned)
        for n, name in enumerate(sizes)
    }
    world.want(*(model(name) for name in sizes), rules=rules)
    for number, budget in enumerate(budgets):
        world.add(ModelNeuron(f"n{number}", budget_bytes=budget * GIB, needs=lambda m: sizes[m]))
    for number, pause_s in calls:
        world.happen(ModelWanted(ModelId(f"m{number % len(needs)}"), "request"))
        world.run(pause_s)
    world.run(60)
    for provision in world.provisions:
        if provision.makes_room_for is not None:
            assert not rules[provision.model_id].pinned
            assert rules[provision.model_id].priority <= rules[provision.makes_room_for].priority


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
        # It would be loaded in place of another if somebody waited for it.
        assert view.unplaceable or view.loadable, view
        for neuron in world.neurons.values():
            assert neuron.memory_bytes() + size > neuron.budget_bytes, "it would have fitted"


def test_a_model_on_demand_is_told_to_one_neuron_so_that_it_is_known_what_it_can_do() -> None:
    """R3.34, lesson 43: that one reads the header of its weights, and loads nothing."""
    state = fleet(model(), rules=ModelRules(min_replicas=0))
    state.apply([joined(1, register("n1")), joined(2, register("n2"))], 0.0)
    (told,) = state.issue(reconcile(state.snapshot(0.0), 0.0), 0.0)
    assert told.command == UpsertModelConfig(config=model())
    assert reconcile(state.snapshot(0.0), 0.0) == [], "it is on its way"
    assert not state.snapshot(0.0).models["m"].loading
    answer = ProvisioningResponse(command_id=told.command_id, model_id=M, accepted=True)
    known = ModelReported(told.neuron_id, told.connection, status(model(), ModelState.UNLOADED))
    state.apply([CommandAnswered(told.neuron_id, told.connection, answer), known], 1.0)
    assert reconcile(state.snapshot(1.0), 1.0) == []
    view = state.snapshot(1.0).models["m"]
    assert (view.capability, view.loading, view.loadable) == (CHAT, False, True)


def test_a_neuron_that_refuses_a_config_is_not_followed_by_all_others() -> None:
    state = fleet(model(), rules=ModelRules(min_replicas=0))
    state.apply([joined(number, register(f"n{number}")) for number in range(1, 9)], 0.0)
    (told,) = state.issue(reconcile(state.snapshot(0.0), 0.0), 0.0)
    no = ProvisioningResponse(command_id=told.command_id, model_id=M, accepted=False, because="R1")
    state.apply([CommandAnswered(told.neuron_id, told.connection, no)], 1.0)
    assert reconcile(state.snapshot(1.0), 1.0) == []


def test_nothing_is_told_of_a_model_that_an_operator_sent_away() -> None:
    state = fleet(model(), rules=ModelRules(min_replicas=0))
    state.snapshot(0.0)
    state.apply([ModelUnwanted(M), joined(1, register("n1"))], 0.0)
    assert reconcile(state.snapshot(0.0), 0.0) == []
