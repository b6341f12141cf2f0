"""What is learned from requests that go and end."""

import pytest

from helexa.cortex.orchestrator.prefix import blocks_of, holder_of
from helexa.cortex.orchestrator.requests import RoutingRequest
from helexa.cortex.orchestrator.routing_memory import DECISIONS_MAX, RoutingMemory
from helexa.cortex.orchestrator.snapshot import Replica
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.inference import Trailer, Usage
from helexa.protocol.workload import Operation, WorkloadClass
from tests.fakes.fleet import CHAT

PROMPT = blocks_of(memoryview(bytes(4000)))
REQUEST = RoutingRequest(
    "r", Operation.CHAT, WorkloadClass.CHAT_INTERACTIVE, "m", prefix=PROMPT, prompt_bytes=4000
)
REPLICA = Replica(ModelId("m"), NeuronId("n"), 3, CHAT)


def test_what_was_sent_is_known_and_open_until_it_ends() -> None:
    memory = RoutingMemory()
    memory.sent(REQUEST, REPLICA)
    assert memory.prefixes.holders(PROMPT) == {holder_of(NeuronId("n"), 3): 3584}
    pace = memory.paces.of(REPLICA.neuron_id, REPLICA.model_id)
    assert pace.tokens_open == 1000
    memory.ended(REQUEST, REPLICA, None)
    assert (pace.tokens_open, pace.service_s) == (0, 0.0)
    memory.ended(REQUEST, REPLICA, None)
    assert pace.tokens_open == 0, "an entry that was forgotten in between"


def test_an_answer_teaches_speeds_without_the_time_in_the_queue() -> None:
    memory = RoutingMemory()
    usage = Usage(prompt_tokens=1100, completion_tokens=101, cached_tokens=100)
    trailer = Trailer(usage=usage, first_token_ms=2500.0, duration_ms=6500.0, queued_ms=500.0)
    memory.ended(REQUEST, REPLICA, trailer)
    pace = memory.paces.of(REPLICA.neuron_id, REPLICA.model_id)
    assert pace.service_s == 6.0
    assert pace.prompt_tokens_per_s == pytest.approx(500.0)
    assert pace.tokens_per_s == pytest.approx(25.0)


def test_decisions_are_counted_until_they_are_taken() -> None:
    memory = RoutingMemory()
    for reason in ("prefix", "spill", "prefix"):
        memory.decided(ModelId("m"), reason)
    assert memory.take_decisions() == {("m", "prefix"): 2, ("m", "spill"): 1}
    assert memory.take_decisions() == {}
    for number in range(DECISIONS_MAX + 9):
        memory.decided(ModelId(f"m{number}"), "prefix")
    memory.decided(ModelId("m0"), "prefix")
    counts = memory.take_decisions()
    assert (len(counts), counts[ModelId("m0"), "prefix"]) == (DECISIONS_MAX, 2)


def test_an_answer_without_usage_teaches_its_time_alone() -> None:
    memory = RoutingMemory()
    memory.ended(REQUEST, REPLICA, Trailer(duration_ms=1000.0))
    pace = memory.paces.of(REPLICA.neuron_id, REPLICA.model_id)
    assert (pace.service_s, pace.tokens_per_s) == (1.0, 0.0)
