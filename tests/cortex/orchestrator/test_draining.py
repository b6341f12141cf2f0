"""Marks on neurons as scripts: what a cordon and a drain do, and what they never do."""

import pytest

from helexa.cortex.orchestrator.draining import DRAIN_S, is_drained
from helexa.cortex.orchestrator.events import (
    CommandAnswered,
    DesiredChanged,
    ModelReported,
    ModelWanted,
    NeuronBeat,
    NeuronGone,
    NeuronMarked,
    Tick,
)
from helexa.cortex.orchestrator.fleet import FleetState
from helexa.cortex.orchestrator.provisioner import reconcile
from helexa.cortex.orchestrator.requests import RoutingDecision, RoutingRequest
from helexa.cortex.orchestrator.rules import ModelRules
from helexa.cortex.orchestrator.scheduler import explain, route
from helexa.protocol.control import ProvisioningResponse, UnloadModel
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.neuron import NeuronHealth, NeuronLoad
from helexa.protocol.workload import Operation, WorkloadClass
from tests.fakes.fleet import fleet, joined, model, register, status
from tests.fakes.fleet_world import FleetWorld
from tests.fakes.neuron_model import ModelNeuron

N1, N2, M = NeuronId("n1"), NeuronId("n2"), ModelId("m")
ASKED = RoutingRequest("r", Operation.CHAT, WorkloadClass.CHAT_INTERACTIVE, "m")


def drain(neuron_id: NeuronId = N1) -> NeuronMarked:
    return NeuronMarked(neuron_id, cordoned=True, draining=True, cause="test")


def asked(state: FleetState, now: float) -> list[tuple[str, str]]:
    provisions = reconcile(state.snapshot(now), now)
    return [(p.neuron_id, type(p.command).__name__) for p in provisions]


def goes_to(state: FleetState, now: float) -> str:
    decision = route(ASKED, state.snapshot(now), lambda _replica: 0)
    return decision.code if isinstance(decision, Refusal) else decision.replica.neuron_id


def test_a_cordoned_neuron_serves_on_and_gets_no_new_models() -> None:
    state = fleet(model(), model("other"))
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    state.apply([NeuronMarked(N1, cordoned=True, draining=False)], 0.0)
    assert goes_to(state, 0.0) == "n1"
    assert asked(state, 0.0) == []
    assert "n1: is cordoned" in state.snapshot(0.0).models["other"].because
    state.apply([NeuronMarked(N1, cordoned=False, draining=False)], 1.0)
    assert asked(state, 1.0) == [("n1", "UpsertModelConfig")]


def test_a_needed_model_is_loaded_elsewhere_before_it_leaves() -> None:
    state = fleet(model())
    known = status(model(), ModelState.UNLOADED)
    state.apply([joined(1, register("n1", status(model()))), joined(2, register("n2", known))], 0.0)
    state.apply([drain()], 0.0)
    assert asked(state, 0.0) == [("n2", "LoadModel")], "nothing is unloaded yet"
    assert goes_to(state, 0.0) == "n1", "until another replica can take them"
    state.apply([ModelReported(N2, 2, status(model(), ModelState.LOADING))], 1.0)
    state.apply([ModelReported(N2, 2, status(model()))], 2.0)
    assert goes_to(state, 2.0) == "n2"
    (finding,) = [
        f
        for f in explain(ASKED, state.snapshot(2.0), lambda _replica: 0).findings
        if f.neuron_id == "n1"
    ]
    assert (finding.filter, finding.because) == ("cordon", "its neuron is being drained")
    (unload,) = reconcile(state.snapshot(2.0), 2.0)
    assert unload.neuron_id == "n1"
    assert unload.command == UnloadModel(model_id=M, drain_s=DRAIN_S), "its config is kept"


def test_a_model_that_fits_nowhere_else_stays_and_says_why() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    state.apply([drain()], 0.0)
    assert asked(state, 0.0) == []
    assert goes_to(state, 0.0) == "n1"
    assert not is_drained(state.snapshot(0.0).neurons[N1])


def test_what_nobody_needs_leaves_at_once_whoever_loaded_it() -> None:
    state = fleet()
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    state.apply([drain()], 0.0)
    assert asked(state, 0.0) == [("n1", "UnloadModel")]
    assert goes_to(state, 0.0) == ErrorCode.SERVICE_UNAVAILABLE, "and takes no new requests"


def test_what_is_only_in_use_waits_for_its_successor_where_one_is_coming() -> None:
    """`min_replicas` 0: nothing must be there, and yet nobody has to wait for a load."""
    state = fleet(model(), rules=ModelRules(min_replicas=0))
    known = status(model(), ModelState.UNLOADED)
    state.apply([joined(1, register("n1", status(model()))), joined(2, register("n2", known))], 0.0)
    state.snapshot(0.0)
    state.apply([ModelWanted(M), drain()], 0.0)
    sent = state.issue(reconcile(state.snapshot(0.0), 0.0), 0.0)
    assert [(p.neuron_id, type(p.command).__name__) for p in sent] == [("n2", "LoadModel")]
    assert goes_to(state, 0.0) == "n1"
    state.apply([ModelReported(N2, 2, status(model()))], 1.0)
    assert asked(state, 1.0) == [("n1", "UnloadModel")]
    assert goes_to(state, 1.0) == "n2"


def test_what_is_only_in_use_and_fits_nowhere_else_leaves_at_once() -> None:
    state = fleet(model(), rules=ModelRules(min_replicas=0))
    state.apply([joined(1, register("n1", status(model()))), ModelWanted(M), drain()], 0.0)
    assert asked(state, 0.0) == [("n1", "UnloadModel")]


def test_a_request_for_what_is_leaving_has_it_loaded_elsewhere() -> None:
    state = fleet()
    known = status(model(), ModelState.UNLOADED)
    state.apply([joined(1, register("n1", status(model()))), joined(2, register("n2", known))], 0.0)
    state.apply([drain()], 0.0)
    assert goes_to(state, 0.0) == ErrorCode.MODEL_LOADING, "it is held"
    state.apply([ModelWanted(M), ModelReported(N1, 1, status(model()))], 1.0)
    assert ("n2", "LoadModel") in asked(state, 1.0)


def test_a_replica_that_ails_sends_requests_back_to_the_draining_one() -> None:
    state = fleet(model())
    both = [joined(1, register("n1", status(model()))), joined(2, register("n2", status(model())))]
    state.apply([*both, drain()], 0.0)
    assert goes_to(state, 0.0) == "n2"
    state.apply([NeuronGone(N2, 2, "closed")], 1.0)
    assert goes_to(state, 1.0) == "n1"
    assert asked(state, 1.0) == [], "and nothing is unloaded under them"


def test_two_replicas_that_must_be_are_both_elsewhere_before_one_leaves() -> None:
    state = fleet()
    state.apply([DesiredChanged(models=(model(),), rules={M: ModelRules(min_replicas=2)})], 0.0)
    state.apply([joined(i, register(f"n{i}", status(model()))) for i in (1, 2)], 0.0)
    state.apply([drain()], 0.0)
    assert goes_to(state, 0.0) == "n2"
    assert asked(state, 0.0) == [], "it keeps its replica where no third neuron can take one"
    state.apply([joined(3, register("n3", status(model())))], 1.0)
    assert asked(state, 1.0) == [("n1", "UnloadModel")]


def test_a_drain_is_over_when_nothing_runs_there() -> None:
    state = fleet()
    state.apply([joined(1, register("n1", status(model()))), drain()], 0.0)
    (sent,) = state.issue(reconcile(state.snapshot(0.0), 0.0), 0.0)
    assert asked(state, 0.0) == [], "asked once"
    taken = ProvisioningResponse(command_id=sent.command_id, model_id=M, accepted=True)
    state.apply([CommandAnswered(N1, 1, taken)], 0.5)
    down = status(model(), ModelState.UNLOADING)
    state.apply([ModelReported(N1, 1, down)], 1.0)
    assert not is_drained(state.snapshot(1.0).neurons[N1])
    down = status(model(), ModelState.UNLOADED)
    state.apply([ModelReported(N1, 1, down)], 2.0)
    assert is_drained(state.snapshot(2.0).neurons[N1])
    busy = NeuronLoad(active_requests=1)
    state.apply([NeuronBeat(N1, 1, NeuronHealth(), busy, (down,))], 3.0)
    assert not is_drained(state.snapshot(3.0).neurons[N1])


def test_a_load_that_the_neuron_retries_by_itself_is_ended_by_a_drain() -> None:
    state = fleet()
    failed = status(model(), ModelState.FAILED, failures=1, retry_after_s=4.0)
    state.apply([joined(1, register("n1", failed)), drain()], 0.0)
    assert not is_drained(state.snapshot(0.0).neurons[N1])
    assert asked(state, 0.0) == [("n1", "UnloadModel")]


@pytest.mark.parametrize("epoch", [1, 2])
def test_marks_outlive_a_reconnect_and_a_restart_of_the_neuron(epoch: int) -> None:
    state = fleet()
    state.apply([joined(1, register("n1")), drain(), NeuronGone(N1, 1, "closed")], 0.0)
    assert is_drained(state.snapshot(0.0).neurons[N1]), "nothing is known to run there"
    state.apply([joined(2, register("n1", epoch=epoch))], 1.0)
    view = state.snapshot(1.0).neurons[N1]
    assert (view.cordoned, view.draining) == (True, True)


def test_a_neuron_away_for_repair_is_not_forgotten_with_its_mark() -> None:
    state = fleet()
    state.apply([joined(1, register("n1")), joined(2, register("n2")), drain()], 0.0)
    state.apply([NeuronGone(N1, 1, "closed"), NeuronGone(N2, 2, "closed"), Tick()], 1.0)
    state.apply([Tick()], 7200.0)
    assert list(state.snapshot(7200.0).neurons) == ["n1"]


def test_an_unknown_neuron_and_a_mark_that_is_there_change_nothing() -> None:
    state = fleet()
    state.apply([joined(1, register("n1")), drain()], 0.0)
    before = state.snapshot(0.0)
    assert state.apply([drain(), drain(NeuronId("nobody"))], 1.0) == []
    assert state.snapshot(1.0) is before


@pytest.mark.parametrize("seed", range(10))
def test_a_drained_neuron_ends_empty_and_every_needed_model_stays_served(seed: int) -> None:
    world = FleetWorld(seed)
    world.want(model("a"), model("b"), model("c"))
    for name in ("n1", "n2", "n3"):
        world.add(ModelNeuron(name))
    names = ["a", "b", "c"]
    world.run_until(lambda: all(world.replicas(name) for name in names), 60)
    emptied = world.replicas("a")[0]
    world.mark(emptied, cordoned=True, draining=True)
    gaps = []

    def done() -> bool:
        gaps.extend(name for name in names if not world.replicas(name))
        return is_drained(world.snapshot.neurons[NeuronId(emptied)])

    world.run_until(done, 60)
    assert gaps == [], "served all the time"
    asked_for = len(world.provisions)
    world.run(60)
    assert len(world.provisions) == asked_for, "and then silent"


def test_a_decision_names_a_replica_that_stays() -> None:
    state = fleet(model())
    state.apply([joined(i, register(f"n{i}", status(model()))) for i in (1, 2)], 0.0)
    state.apply([drain()], 0.0)
    decision = route(ASKED, state.snapshot(0.0), lambda r: 3 if r.neuron_id == N2 else 0)
    assert isinstance(decision, RoutingDecision)
    assert (decision.replica.neuron_id, decision.eligible) == ("n2", 1)
