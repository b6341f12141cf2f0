"""What belongs to one gateway's routing."""

from dataclasses import replace
from types import MappingProxyType

from helexa.cortex.orchestrator.prefix import blocks_of, holder_of
from helexa.cortex.orchestrator.requests import RoutingDecision
from helexa.cortex.orchestrator.router import Router
from helexa.cortex.orchestrator.scheduler import explain, route
from helexa.cortex.orchestrator.strategies import RoundRobin, RoutingPolicy
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import NeuronId
from helexa.protocol.inference import Trailer
from helexa.protocol.workload import WorkloadClass
from tests.fakes.routing import M, idle, replica, request, snapshot

PROMPT = blocks_of(memoryview(bytes(4096)))


def test_affinity_is_looked_for_only_where_it_could_matter() -> None:
    one, two = snapshot(replica("a")), snapshot(replica("a"), replica("b"))
    router = Router()
    chat = WorkloadClass.CHAT_INTERACTIVE
    assert router.has_choice("m", chat, two)
    assert router.has_choice("alias", chat, two)
    assert not router.has_choice("m", chat, one)
    assert not router.has_choice("nobody", chat, two)
    assert not router.has_choice(None, chat, two)
    named = replace(two, default_models=MappingProxyType({chat: M}))
    assert router.has_choice(None, chat, named)
    blind = Router(RoundRobin(RoutingPolicy()), "round_robin")
    assert not blind.has_choice("m", chat, two)


def test_what_was_sent_is_remembered_by_memory_and_strategy() -> None:
    router = Router(RoundRobin(RoutingPolicy()), "round_robin")
    fleet = snapshot(replica("a"), replica("b"))
    asked = request(prefix=PROMPT)
    places = []
    for _ in range(3):
        decision = route(asked, fleet, idle, router)
        assert isinstance(decision, RoutingDecision)
        router.sent(asked, decision)
        router.ended(asked, decision, Trailer(duration_ms=500.0))
        places.append(decision.replica.neuron_id)
    router.memory.learn()
    assert places == ["a", "b", "a"]
    assert router.memory.prefixes.holders(PROMPT).keys() == {
        holder_of(NeuronId(name), 1) for name in "ab"
    }
    assert router.memory.paces.of(decision.replica.neuron_id, decision.model_id).service_s == 0.5


def test_a_policy_of_tenants_says_who_may_use_what() -> None:
    router = Router(may_use=lambda asked, r: asked.principal == "vip" or r.neuron_id == "a")
    fleet = snapshot(replica("a"), replica("b"))
    plain = [route(request(request_id=f"r{i}"), fleet, idle, router) for i in range(20)]
    assert {d.replica.neuron_id for d in plain if isinstance(d, RoutingDecision)} == {"a"}
    vip = [
        route(request(request_id=f"r{i}", principal="vip"), fleet, idle, router) for i in range(20)
    ]
    assert {d.replica.neuron_id for d in vip if isinstance(d, RoutingDecision)} == {"a", "b"}
    refusal = route(request(principal="guest"), snapshot(replica("b")), idle, router)
    assert isinstance(refusal, Refusal)
    assert refusal.code is ErrorCode.PERMISSION_DENIED
    assert "'guest'" in refusal.because
    found = {f.neuron_id: f.filter for f in explain(request(), fleet, idle, router).findings}
    assert found == {"a": "", "b": "tenant"}
