"""What is learned from requests that go and end."""

import pytest

from helexa.cortex.orchestrator.prefix import blocks_of, holder_of
from helexa.cortex.orchestrator.requests import RoutingDecision, RoutingRequest
from helexa.cortex.orchestrator.routing_memory import DECISIONS_MAX, UNLEARNED_MAX, RoutingMemory
from helexa.cortex.orchestrator.snapshot import ModelView, Replica
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.inference import Trailer, Usage
from helexa.protocol.neuron import NeuronDescriptor
from helexa.protocol.workload import Operation, WorkloadClass
from tests.fakes.fleet import CHAT, model

PROMPT = blocks_of(memoryview(bytes(4000)))
REQUEST = RoutingRequest(
    "r", Operation.CHAT, WorkloadClass.CHAT_INTERACTIVE, "m", prefix=PROMPT, prompt_bytes=4000
)
SMALL = RoutingRequest("r", Operation.CHAT, WorkloadClass.CHAT_INTERACTIVE, "m")
REPLICA = Replica(ModelId("m"), NeuronId("n"), 3, CHAT)


def decision(reason: str = "prefix", model_id: str = "m") -> RoutingDecision:
    there = Replica(ModelId(model_id), NeuronId("n"), 3, CHAT)
    neuron = NeuronDescriptor(id=NeuronId("n"), epoch=3)
    view = ModelView(config=model(model_id), replicas=(there,))
    return RoutingDecision(view, (there,), (neuron,), reason=reason)


def test_a_prompt_is_known_where_it_was_answered_not_where_it_is_under_way() -> None:
    memory = RoutingMemory()
    memory.sent(REQUEST, REPLICA)
    memory.ended(REQUEST, decision(), None)
    assert memory.prefixes.holders(PROMPT) == {}
    memory.sent(REQUEST, REPLICA)
    memory.ended(REQUEST, decision(), Trailer(duration_ms=1.0))
    assert memory.prefixes.holders(PROMPT) == {holder_of(NeuronId("n"), 3): 3584}


def test_prompts_that_were_sent_are_counted_through() -> None:
    memory = RoutingMemory()
    other = Replica(ModelId("m"), NeuronId("other"), 1, CHAT)
    for replica in (REPLICA, other, REPLICA):
        memory.sent(REQUEST, replica)
    turns = [memory.paces.of(each.neuron_id, each.model_id).turn for each in (REPLICA, other)]
    assert turns == [3, 2]


def test_what_was_sent_is_open_until_it_ends() -> None:
    memory = RoutingMemory()
    memory.sent(REQUEST, REPLICA)
    pace = memory.paces.of(REPLICA.neuron_id, REPLICA.model_id)
    assert pace.tokens_open == 1000
    memory.ended(REQUEST, decision(), None)
    assert (pace.tokens_open, pace.service_s) == (0, 0.0)
    memory.ended(REQUEST, decision(), None)
    assert pace.tokens_open == 0, "an entry that was forgotten in between"


def test_an_answer_teaches_speeds_without_the_time_in_the_queue() -> None:
    memory = RoutingMemory()
    usage = Usage(prompt_tokens=1100, completion_tokens=101, cached_tokens=100)
    trailer = Trailer(usage=usage, first_token_ms=2500.0, duration_ms=6500.0, queued_ms=500.0)
    memory.ended(REQUEST, decision(), trailer)
    memory.learn()
    pace = memory.paces.of(REPLICA.neuron_id, REPLICA.model_id)
    assert pace.service_s == 6.0
    assert pace.prompt_tokens_per_s == pytest.approx(500.0)
    assert pace.seen_tokens_per_s == pytest.approx(25.0)


def test_decisions_are_counted_until_they_are_taken() -> None:
    memory = RoutingMemory()
    for reason in ("prefix", "spill", "prefix"):
        memory.ended(REQUEST, decision(reason), None)
    assert memory.take_decisions() == {("m", "prefix"): 2, ("m", "spill"): 1}
    assert memory.take_decisions() == {}
    for number in range(DECISIONS_MAX + 9):
        memory.ended(REQUEST, decision("prefix", f"m{number}"), None)
    memory.ended(REQUEST, decision("prefix", "m0"), None)
    counts = memory.take_decisions()
    assert (len(counts), counts[ModelId("m0"), "prefix"]) == (DECISIONS_MAX, 2)


def test_what_ended_is_learned_from_the_first_at_once_and_later_ones_together() -> None:
    memory = RoutingMemory()
    learned = []
    for number in range(1, 3 * UNLEARNED_MAX):
        before = memory.paces.of(REPLICA.neuron_id, REPLICA.model_id).service_s
        memory.ended(SMALL, decision(), Trailer(duration_ms=1000.0 * number))
        if memory.paces.of(REPLICA.neuron_id, REPLICA.model_id).service_s != before:
            learned.append(number)
    assert learned == [1, 3, 7, 15, 31, 63, 95]


def test_small_prompts_leave_nothing_behind() -> None:
    memory = RoutingMemory()
    memory.sent(SMALL, REPLICA)
    assert (len(memory.paces), len(memory.prefixes)) == (0, 0)


def test_an_answer_without_usage_teaches_its_time_alone() -> None:
    memory = RoutingMemory()
    memory.ended(REQUEST, decision(), Trailer(duration_ms=1000.0))
    memory.learn()
    pace = memory.paces.of(REPLICA.neuron_id, REPLICA.model_id)
    assert (pace.service_s, pace.seen_tokens_per_s) == (1.0, 0.0)
