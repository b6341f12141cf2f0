"""What should run, by config, by demand and by what operators say."""

from helexa.cortex.orchestrator.demand import DemandSample
from helexa.cortex.orchestrator.events import (
    DemandRestored,
    DemandSampled,
    DesiredChanged,
    ModelPinned,
    ModelUnwanted,
    ModelWanted,
    NeuronHeard,
    Tick,
)
from helexa.cortex.orchestrator.policy import FleetPolicy
from helexa.cortex.orchestrator.rules import ModelRules, ProvisioningPolicy
from helexa.cortex.orchestrator.sizing import DEMAND_S
from helexa.cortex.orchestrator.snapshot import ModelView, NeuronView, Replica
from helexa.cortex.orchestrator.useful_seats import OBSERVATIONS_MIN, Achieved, step_of
from helexa.cortex.orchestrator.wishes import Wishes
from helexa.protocol.ids import ModelId, NeuronId
from tests.fakes.fleet import CHAT, fleet, joined, model, register, status

M = ModelId("m")
UNLOADED = {"m": ModelView(config=model())}
LOADED = {"m": ModelView(config=model(), replicas=(Replica(M, NeuronId("n1"), 1, CHAT),))}
ON_DEMAND = ModelRules(min_replicas=0, keep_alive_s=600.0)


def fleet_view() -> NeuronView:
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    return state.snapshot(0.0).neurons[NeuronId("n1")]


def wishes(rules: ModelRules | None = None) -> Wishes:
    made = Wishes(FleetPolicy())
    asked = {} if rules is None else {M: rules}
    made.take(DesiredChanged(models=(model(),), rules=asked, cause="config"), 0.0, {})
    return made


def replicas(made: Wishes, now: float, known: dict[str, ModelView] = UNLOADED) -> int:
    made.resize(known, now)
    return made.desired(known)[M].replicas


def test_configured_models_are_desired_at_once() -> None:
    """R6.3."""
    assert replicas(wishes(), 0.0) == 1


def test_a_model_on_demand_is_loaded_when_it_is_asked_for_and_leaves_when_it_is_idle() -> None:
    """R6.13: scale to zero and back."""
    made = wishes(ON_DEMAND)
    assert replicas(made, 0.0) == 0
    assert made.take(ModelWanted(M, "request-1"), 10.0, UNLOADED)
    assert not made.take(ModelWanted(M, "request-2"), 11.0, UNLOADED), "asked for already"
    assert replicas(made, 11.0) == 1
    assert made.desired(UNLOADED)[M].waiting_since_s == 10.0
    made.take(DemandSampled((DemandSample(M, arrivals=1, in_flight=1),)), 30.0, LOADED)
    assert replicas(made, 30.0, LOADED) == 1
    made.take(DemandSampled((DemandSample(M, finished=1),)), 40.0, LOADED)
    made.tick(LOADED, {}, 40.0 + DEMAND_S)
    assert replicas(made, 40.0 + 599.0, LOADED) == 1
    assert replicas(made, 40.0 + 600.0, LOADED) == 0


def test_a_demanded_model_that_is_not_configured_is_marked() -> None:
    made = wishes()
    known = {"x": ModelView(config=model("x"))}
    made.take(ModelWanted(ModelId("x"), "request-7"), 0.0, known)
    desired = made.desired(known)[ModelId("x")]
    assert desired.demanded
    assert desired.cause == "request-7"


def test_demands_expire() -> None:
    made = wishes(ON_DEMAND)
    made.take(ModelWanted(M), 0.0, UNLOADED)
    assert replicas(made, 0.0) == 1
    made.tick(UNLOADED, {}, DEMAND_S)
    assert replicas(made, DEMAND_S) == 0


def test_a_model_that_an_operator_unloaded_stays_away_until_it_is_asked_for() -> None:
    made = wishes(ModelRules(min_replicas=1, guaranteed=True))
    assert replicas(made, 0.0, LOADED) == 1
    made.take(ModelUnwanted(M, "operator"), 1.0, LOADED)
    assert replicas(made, 1.0, LOADED) == 0
    assert made.desired(LOADED)[M].set_aside
    assert replicas(made, 1000.0) == 0
    made.take(ModelWanted(M, "request-1"), 1001.0, UNLOADED)
    assert replicas(made, 1001.0) == 1


def test_a_request_that_waits_brings_back_what_was_unloaded() -> None:
    made = wishes()
    made.take(ModelUnwanted(M, "operator"), 1.0, LOADED)
    made.take(DemandSampled((DemandSample(M, finished=3),)), 2.0, LOADED)
    assert replicas(made, 2.0, LOADED) == 0, "what was under way ends; nobody asks anew"
    made.take(DemandSampled((DemandSample(M, arrivals=1, waiting=1),)), 3.0, UNLOADED)
    assert replicas(made, 3.0) == 1


def test_a_pinned_model_does_not_leave_for_being_idle() -> None:
    made = wishes(ON_DEMAND)
    made.take(ModelPinned(M, pinned=True), 0.0, UNLOADED)
    assert replicas(made, 0.0) == 1
    assert replicas(made, 10_000.0, LOADED) == 1
    assert made.desired(LOADED)[M].rules.pinned
    made.take(ModelPinned(M, pinned=False), 10_001.0, LOADED)
    assert replicas(made, 10_001.0, LOADED) == 0, "idle for long"


def test_what_was_learned_is_joined_with_the_spec_by_model_id() -> None:
    """R6.11, R6.8: learned values outlive a restart, nothing is there twice, the spec wins."""
    made = wishes(ModelRules(min_replicas=0, max_replicas=4, keep_alive_s=600.0))
    sample = DemandSample(M, arrivals=30, finished=30, service_s=60.0, in_flight=8)
    made.take(DemandSampled((sample,)), 10.0, LOADED)
    made.take(ModelPinned(M, pinned=True), 10.0, LOADED)
    replicas(made, 10.0, LOADED)
    kept = made.memory(20.0, wall_s=1e9)
    assert [each.model_id for each in kept.models] == ["m"]
    again = Wishes(FleetPolicy())
    again.take(DemandRestored(kept, away_s=30.0), 5.0, {})
    spec = DesiredChanged(models=(model(),), rules={M: ModelRules(max_replicas=1)})
    again.take(spec, 5.0, {})
    assert replicas(again, 5.0) == 1, "as it was, within what the spec allows"
    assert again.desired({})[M].rules.pinned
    assert again.demand.models[M].service_s == 2.0
    assert 0 < again.demand.models[M].requests[2] < made.demand.models[M].requests[2]
    assert list(again.demand.models) == ["m"]


def achieved(concurrency: float, stream_tokens_per_s: float) -> DemandSampled:
    told = Achieved(NeuronId("n1"), OBSERVATIONS_MIN, concurrency, stream_tokens_per_s)
    return DemandSampled((DemandSample(M, finished=OBSERVATIONS_MIN, achieved=(told,)),))


def test_replicas_are_given_the_seats_that_were_learned_to_be_of_use() -> None:
    """R6.10: the snapshot that requests are routed by has them, and a new one is made for it."""
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    assert state.snapshot(0.0).models["m"].replicas[0].seats == CHAT.seats == 4
    state.apply([achieved(1, 30.0), achieved(2, 29.0), achieved(4, 15.0)], 9.0)
    state.apply([NeuronHeard(NeuronId("n1"), 1, 10.0), Tick()], 10.0)
    (replica,) = state.snapshot(10.0).models["m"].replicas
    assert (replica.seats, replica.open_max) == (2, 2)
    assert state.memory(10.0, 0.0).seats[0].limit == 2


def test_requests_in_the_neuron_s_own_line_were_not_at_work() -> None:
    """Six on four seats is four at work: the curve must not promise more at six."""
    made = wishes()
    made.take(achieved(6, 25.0), 1.0, LOADED)
    neurons = {NeuronId("n1"): fleet_view()}
    made.tick(LOADED, neurons, 1.0)
    (curve,) = (useful.curve for useful in made.demand.useful.values())
    assert curve.tokens_per_s[step_of(4)] == 100.0
    assert not curve.observations[step_of(6)]


def test_a_floor_that_an_operator_moves_counts_at_once() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    assert state.snapshot(0.0).models["m"].replicas[0].seats == 4
    state.apply([achieved(2, 30.0), achieved(4, 15.0)], 9.0)
    state.apply([NeuronHeard(NeuronId("n1"), 1, 10.0), Tick()], 10.0)
    policy = ProvisioningPolicy(learned_seats_min=3)
    state.apply([DesiredChanged(models=(model(),), policy=policy, cause="spec")], 11.0)
    assert state.snapshot(11.0).models["m"].replicas[0].seats == 3
