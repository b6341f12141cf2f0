"""What is remembered of requests, for how long, and that an explanation is the decision itself."""

import tracemalloc

from helexa.cortex.gateway.decisions import (
    DECISIONS_MAX,
    FAILED_MAX,
    FAILED_S,
    RECENT_MAX,
    REPLICAS_MAX,
    Decided,
    Decisions,
)
from helexa.cortex.gateway.inflight import COPIED_MAX, Inflight
from helexa.cortex.gateway.metering import Outcome, Record
from helexa.cortex.orchestrator.requests import RoutingDecision, RoutingRequest
from helexa.cortex.orchestrator.scheduler import route
from helexa.cortex.orchestrator.snapshot import FleetSnapshot
from helexa.protocol.errors import Refusal
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.workload import Operation, WorkloadClass
from tests.fakes.fleet import fleet, joined, model, register, status
from tests.fakes.gateway import World, snapshot_of


def request(request_id: str = "r", **fields: object) -> RoutingRequest:
    return RoutingRequest(
        request_id, Operation.CHAT, WorkloadClass.CHAT_INTERACTIVE, "m", **fields  # type: ignore[arg-type]
    )  # fmt: skip


def record(
    request_id: str = "r", outcome: Outcome = Outcome.OK, *, status: int = 200, code: str = ""
) -> Record:
    return Record(
        request_id, Operation.CHAT, "k", "m", "n1", False, status, outcome, code, 5.0, None, 3,
        None, 1,
    )  # fmt: skip


class Gateway:
    """A memory with a clock, a fleet, and what is in flight."""

    def __init__(self, *neurons: str) -> None:
        self.now = 1000.0
        self.memory = Decisions(lambda: self.now)
        self.inflight = Inflight()
        self.snapshot: FleetSnapshot = snapshot_of(*neurons)

    def decide(self, request_id: str = "r") -> RoutingDecision | Refusal:
        asked = request(request_id)
        outcome = route(asked, self.snapshot, self.inflight.on)
        self.memory.note(asked, self.snapshot, outcome, self.inflight.counts())
        if isinstance(outcome, RoutingDecision):
            self.inflight.add(outcome.replica.neuron_id, outcome.model_id)
        return outcome

    def found(self, request_id: str = "r") -> Decided:
        found = self.memory.find(request_id)
        assert found is not None
        return found


def test_an_explanation_is_of_the_loads_at_that_time() -> None:
    gateway = Gateway("n1", "n2")
    chosen = [gateway.decide(f"r{number}") for number in range(5)]
    for number, outcome in enumerate(chosen):
        (decision,) = gateway.found(f"r{number}").decisions
        why = decision.explanation()
        assert why is not None
        assert isinstance(outcome, RoutingDecision)
        assert why.chosen == outcome.replica.neuron_id == decision.outcome.neuron_id  # type: ignore[union-attr]
        in_flight = sum(score * 4 for f in why.findings for _, score in f.scores)
        assert in_flight == number, "what was in flight then, and not what is now"


def test_a_running_request_is_found_and_then_how_it_ended() -> None:
    gateway = Gateway("n1")
    gateway.decide()
    assert gateway.found().record is None
    gateway.now += 1.0
    gateway.memory.ended(record())
    assert gateway.found().record == record()
    assert gateway.found().ended_s == 1001.0
    assert gateway.memory.find("other") is None


def test_a_request_refused_before_it_was_routed_is_remembered() -> None:
    gateway = Gateway("n1")
    gateway.memory.ended(record("x", Outcome.CLIENT_ERROR, status=401, code="invalid_api_key"))
    assert gateway.found("x").decisions == ()


def test_of_a_long_wait_the_first_and_the_last_decision_are_kept() -> None:
    gateway = Gateway()
    gateway.snapshot = snapshot_of(loading=True)
    for _ in range(50):
        gateway.now += 1.0
        assert isinstance(gateway.decide(), Refusal)
    gateway.snapshot = snapshot_of("n1")
    gateway.decide()
    first, last, sent = gateway.found().decisions
    assert (first.at_s, last.at_s) == (1001.0, 1050.0)
    assert sent.outcome.neuron_id == "n1"  # type: ignore[union-attr]


def test_decisions_about_one_request_are_bounded() -> None:
    gateway = Gateway("n1", "n2")
    for _ in range(100):
        gateway.decide()
    assert len(gateway.found().decisions) == DECISIONS_MAX


def test_the_last_requests_are_remembered_and_no_more() -> None:
    gateway = Gateway("n1")
    for number in range(RECENT_MAX + 10):
        gateway.decide(f"r{number}")
        gateway.memory.ended(record(f"r{number}"))
    assert gateway.memory.find("r9") is None
    assert gateway.memory.find("r10") is not None


def test_those_that_failed_outlive_the_others_for_some_minutes() -> None:
    gateway = Gateway("n1")
    gateway.decide("bad")
    gateway.memory.ended(record("bad", Outcome.UPSTREAM_ERROR, status=502))
    for number in range(RECENT_MAX + 1):
        gateway.decide(f"r{number}")
        gateway.memory.ended(record(f"r{number}"))
    assert gateway.found("bad").decisions
    gateway.now += FAILED_S + 1.0
    gateway.memory.ended(record("worse", Outcome.REJECTED, status=429))
    assert gateway.memory.find("bad") is None


def test_a_flood_of_refusals_is_bounded() -> None:
    gateway = Gateway("n1")
    for number in range(FAILED_MAX + 10):
        gateway.memory.ended(record(f"x{number}", Outcome.REJECTED, status=429))
    assert gateway.memory.find("x9") is None
    assert gateway.memory.find("x10") is not None


def test_old_snapshots_are_let_go_and_what_was_decided_is_still_told() -> None:
    gateway = Gateway("n1")
    gateway.decide("old")
    large = [f"n{number}" for number in range(1000)]
    for number in range(REPLICAS_MAX // len(large) + 1):
        gateway.snapshot = snapshot_of(*large)
        gateway.decide(f"r{number}")
    (decision,) = gateway.found("old").decisions
    assert decision.explanation() is None
    assert decision.outcome.neuron_id == "n1"  # type: ignore[union-attr]
    (decision,) = gateway.found(f"r{number}").decisions
    assert decision.explanation() is not None


def test_counts_of_very_many_replicas_are_not_copied() -> None:
    inflight = Inflight()
    for number in range(COPIED_MAX):
        inflight.add(NeuronId(f"n{number}"), ModelId("m"))
    counts = inflight.counts()
    assert counts is not None
    inflight.add(NeuronId("n0"), ModelId("m"))
    assert counts[NeuronId("n0"), ModelId("m")] == 1, "a copy"
    inflight.add(NeuronId("one more"), ModelId("m"))
    assert inflight.counts() is None


def test_the_memory_of_a_full_ring_is_a_few_megabytes() -> None:
    state = fleet(model())
    state.apply([joined(i, register(f"n{i}", status(model()))) for i in range(8)], 0.0)
    gateway = Gateway()
    gateway.snapshot = state.snapshot(0.0)
    for number in range(8):
        gateway.inflight.add(NeuronId(f"n{number}"), ModelId("m"))
    tracemalloc.start()
    try:
        for number in range(RECENT_MAX * 2):
            gateway.decide(f"r{number}")
            gateway.memory.ended(record(f"r{number}"))
        used_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used_bytes < 4 << 20


def test_the_pipeline_notes_each_attempt_and_the_end() -> None:
    world = World("n1", "n2")
    world.ask()
    tried = next(neuron for neuron in world.neurons.values() if neuron.jobs)
    tried.jobs[0].give_up("service_unavailable", retry_elsewhere=True)
    world.carry()
    other = next(neuron for neuron in world.neurons.values() if neuron is not tried)
    other.jobs[0].answer(b"{}")
    found = world.pipeline.decisions.find("req-1")
    assert found is not None
    assert [d.outcome.neuron_id for d in found.decisions] == [tried.id, other.id]  # type: ignore[union-attr]
    assert found.record == world.records[0]
