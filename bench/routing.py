"""What one routing decision costs: `python -m bench.routing`. Process CPU time, no I/O.

Fleets and requests take turns (A B C A B C …) and the best round of each counts, so that what else
the machine does falls on all of them.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from helexa.cortex.gateway.affinity import prefix_of
from helexa.cortex.orchestrator.pace import ANSWERS_MIN
from helexa.cortex.orchestrator.prefix import holder_of
from helexa.cortex.orchestrator.requests import RoutingDecision, RoutingRequest
from helexa.cortex.orchestrator.router import Router
from helexa.cortex.orchestrator.scheduler import route
from helexa.cortex.orchestrator.snapshot import FleetSnapshot, ModelView, NeuronView, Replica
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.model import ModelCapability, ModelConfig
from helexa.protocol.neuron import (
    Capabilities,
    HardwareReport,
    NeuronDescriptor,
    NeuronHealth,
    NeuronLoad,
)
from helexa.protocol.workload import Operation, Workload, WorkloadClass

PROMPT = b'{"model":"m0","messages":[' + b"The quick brown fox. " * 2400 + b"]}"
BLOCKS = prefix_of(Operation.CHAT, "m0", PROMPT)
CAPABILITY = ModelCapability(workloads=(Workload.CHAT,), context_tokens=32768, seats=4)


@dataclass(frozen=True, slots=True)
class Case:
    """A fleet, and the bound on a decision in it, in microseconds of CPU time."""

    title: str
    replicas: int
    """Of each model."""
    limit_us: float
    models: int = 1


CASES = (
    Case("1 replica", 1, 3.0),
    Case("2 replicas", 2, 15.0),
    Case("8 replicas", 8, 15.0),
    Case("1,000 neurons x 100 models, 10 replicas each", 10, 150.0, models=100),
    Case("1,000 neurons x 100 models, all on all", 1000, 150.0, models=100),
)
REQUESTS = {
    "plain": {},
    "session": {"session": "conversation-7"},
    "prompt of 50 kB": {"prefix": BLOCKS, "session": "conversation-7", "prompt_bytes": len(PROMPT)},
}


def fleet_of(case: Case) -> FleetSnapshot:
    """Return a snapshot; where models have fewer replicas than neurons, each has its own part."""
    neurons = 1000 if case.models > 1 else case.replicas
    hardware = HardwareReport(cpu_count=8, memory_total_bytes=1, memory_available_bytes=1)
    capabilities = Capabilities(hardware=hardware, engines=("llamacpp",), memory_budget_bytes=1)
    views = {
        NeuronId(f"n{i}"): NeuronView(
            NeuronDescriptor(id=NeuronId(f"n{i}"), epoch=1),
            capabilities,
            NeuronHealth(),
            NeuronLoad(),
            connected=True,
            suspect=False,
            last_heard_s=0.0,
        )
        for i in range(neurons)
    }
    names = [ModelId(f"m{number}") for number in range(case.models)]
    models = {
        name: ModelView(
            config=ModelConfig(id=name, engine="llamacpp"),
            replicas=tuple(
                Replica(name, NeuronId(f"n{(number * case.replicas + i) % neurons}"), 1, CAPABILITY)
                for i in range(case.replicas)
            ),
        )
        for number, name in enumerate(names)
    }
    return FleetSnapshot(
        models=MappingProxyType(dict(models)),
        names=MappingProxyType({name: name for name in names}),
        neurons=MappingProxyType(views),
    )


def used_router(fleet: FleetSnapshot) -> Router:
    """Return a router that has sent the prompt to some replicas and learned their speeds."""
    router = Router()
    replicas = fleet.models["m0"].replicas[:8]
    for number, replica in enumerate(replicas):
        size = len(BLOCKS) * (number + 1) // (len(replicas) + 1)
        sent = request_of("warm", {"prefix": BLOCKS[:size]})
        router.memory.prefixes.note(sent.prefix, holder_of(replica.neuron_id, replica.epoch))
        pace = router.memory.paces.learning(replica.neuron_id, replica.model_id)
        pace.served(2.5)
        for _ in range(ANSWERS_MIN):
            pace.generated(120, 2.1 + number % 3)
    return router


def request_of(request_id: str, fields: dict[str, object]) -> RoutingRequest:
    """Return a chat request for the first model."""
    kind = WorkloadClass.CHAT_INTERACTIVE
    return RoutingRequest(request_id, Operation.CHAT, kind, "m0", **fields)  # type: ignore[arg-type]


def decision_of(fleet: FleetSnapshot, router: Router, request: RoutingRequest) -> Callable[[], str]:
    """Return a call that decides once and says why it went where it went."""
    counts = {replica.neuron_id: i % 4 for i, replica in enumerate(fleet.models["m0"].replicas)}

    def sent(replica: Replica) -> int:
        return counts[replica.neuron_id]

    def decide() -> str:
        decision = route(request, fleet, sent, router)
        assert isinstance(decision, RoutingDecision)
        return decision.reason

    return decide


def cpu_us(call: Callable[[], object], repeats: int) -> float:
    """Return CPU microseconds of one call."""
    started_s = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - started_s) / repeats * 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns 1 where a decision costs more than its bound."""
    parser = argparse.ArgumentParser(prog="python -m bench.routing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=500)
    options = parser.parse_args(arguments)
    calls: dict[tuple[str, str], Callable[[], str]] = {}
    for case in CASES:
        fleet = fleet_of(case)
        router = used_router(fleet)
        for kind, fields in REQUESTS.items():
            calls[case.title, kind] = decision_of(fleet, router, request_of("r1", fields))
    best = {key: float("inf") for key in calls}
    for _ in range(options.rounds):
        for key, call in calls.items():
            best[key] = min(best[key], cpu_us(call, options.repeats))
    hashing_us = min(
        cpu_us(lambda: prefix_of(Operation.CHAT, "m0", PROMPT), 20) for _ in range(options.rounds)
    )
    over = 0
    print("routing decision, CPU time of the process, best round")
    for case in CASES:
        figures = [f"{kind} {best[case.title, kind]:6.2f} us" for kind in REQUESTS]
        worst = max(best[case.title, kind] for kind in REQUESTS)
        over += worst > case.limit_us
        verdict = "met" if worst <= case.limit_us else "NOT MET"
        print(f"  {case.title:46} {'   '.join(figures)}   limit {case.limit_us:g} us: {verdict}")
    size_kb = len(PROMPT) / 1e3
    print(f"  hashing a prompt of {size_kb:.0f} kB: {hashing_us:.1f} us ({len(BLOCKS)} blocks)")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
