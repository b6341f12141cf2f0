"""What gateways saw of speeds, joined with engines and machines."""

from helexa.cortex.orchestrator.demand import DemandSample, DemandState
from helexa.cortex.orchestrator.seat_learner import ACHIEVED_MAX, SETTLED_S, SeatLearner
from helexa.cortex.orchestrator.snapshot import FleetSnapshot
from helexa.cortex.orchestrator.useful_seats import OBSERVATIONS_MIN, Achieved, step_of
from helexa.protocol.ids import ModelId, NeuronId
from tests.fakes.fleet import fleet, joined, model, register, status

M = ModelId("m")


def served() -> FleetSnapshot:
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    return state.snapshot(0.0)


def sample(concurrency: float, stream_tokens_per_s: float, neuron: str = "n1") -> DemandSample:
    told = Achieved(NeuronId(neuron), OBSERVATIONS_MIN, concurrency, stream_tokens_per_s)
    return DemandSample(M, finished=OBSERVATIONS_MIN, achieved=(told,))


def learn(learner: SeatLearner, demand: DemandState, now: float = 1.0) -> None:
    snapshot = served()
    learner.learn(demand, snapshot.models, snapshot.neurons, 2, now)


def test_requests_in_the_neuron_s_own_line_were_not_at_work() -> None:
    """Six on four seats is four at work: the curve must not promise more at six."""
    learner, demand = SeatLearner(), DemandState()
    learner.note([sample(6, 25.0)])
    learn(learner, demand)
    (curve,) = (useful.curve for useful in demand.useful.values())
    assert curve.tokens_per_s[step_of(4)] == 100.0
    assert not curve.observations[step_of(6)]


def test_what_is_learned_is_kept_by_model_engine_and_machine() -> None:
    learner, demand = SeatLearner(), DemandState()
    learner.note([sample(1, 25.0)])
    learn(learner, demand)
    assert set(demand.useful) == {(M, "echo", "cpu unknown 8")}


def test_of_a_replica_that_is_gone_nothing_is_learned() -> None:
    learner, demand = SeatLearner(), DemandState()
    learner.note(
        [sample(1, 25.0, "n2"), DemandSample(ModelId("x"), achieved=sample(1, 1).achieved)]
    )
    learn(learner, demand)
    assert demand.useful == {}


def test_it_is_decided_now_and_then_and_told_once() -> None:
    learner, demand = SeatLearner(), DemandState()
    learner.note([sample(2, 30.0), sample(4, 15.0)])
    learn(learner, demand, SETTLED_S - 1.0)
    assert not learner.has_news
    learn(learner, demand, SETTLED_S)
    assert learner.has_news
    assert (learner.take(), learner.take(), learner.has_news) == ({M}, set(), False)
    learner.look_again(demand)
    assert learner.take() == {M}


def test_what_nobody_looks_at_does_not_pile_up() -> None:
    learner = SeatLearner()
    for _ in range(ACHIEVED_MAX + 10):
        learner.note([sample(1, 1.0)])
    assert len(learner._achieved) == ACHIEVED_MAX
