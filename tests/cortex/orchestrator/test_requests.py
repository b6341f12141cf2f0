"""What routing answers, as values."""

from helexa.cortex.orchestrator.requests import RoutingDecision
from helexa.cortex.orchestrator.snapshot import ModelView, Replica
from helexa.protocol.ids import ModelId, NeuronId
from tests.fakes.fleet import CHAT, model


def test_a_decision_gives_the_real_model_id_and_the_chosen_replica() -> None:
    replica = Replica(ModelId("m"), NeuronId("n1"), 1, CHAT)
    decision = RoutingDecision(ModelView(config=model("m"), replicas=(replica,)), (replica,), ())
    assert decision.model_id == "m"
    assert decision.replica is replica
