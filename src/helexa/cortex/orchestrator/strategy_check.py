"""Whether a routing strategy keeps the rules of one: the conformance test of plug-ins. Pure.

    problems_of(factory) -> what is wrong, empty when nothing is

Deterministic and quick (some milliseconds), so it is asked at every start, and a plug-in's own
tests may ask it too.
"""

from typing import Final

from helexa.cortex.orchestrator.prefix import blocks_of
from helexa.cortex.orchestrator.requests import Candidate, Choice, RoutingRequest, candidate_of
from helexa.cortex.orchestrator.routing_memory import RoutingMemory
from helexa.cortex.orchestrator.snapshot import Replica
from helexa.cortex.orchestrator.strategies import Factory, RoutingPolicy, Strategy
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.model import ModelCapability
from helexa.protocol.workload import Operation, Workload, WorkloadClass

SIZES: Final = (2, 3, 8, 16, 64)
ROUNDS: Final = 40
REASON_CHARS_MAX: Final = 32
_PROMPT: Final = memoryview(bytes(8192))


def problems_of(factory: Factory) -> list[str]:
    """Return what a strategy does that it must not; at most one line for each rule and size."""
    problems: list[str] = []
    for size in SIZES:
        try:
            problems += _problems_with(factory(RoutingPolicy()), size)
        except Exception as error:  # noqa: BLE001 - a plug-in may raise anything; it is told
            problems.append(f"with {size} replicas it raised {type(error).__name__}: {error}"[:300])
    return problems


def _problems_with(strategy: Strategy, size: int) -> list[str]:
    memory = RoutingMemory()
    in_flight = dict.fromkeys(range(size), 0)
    found: dict[str, None] = {}
    for number in range(ROUNDS * 2):
        request = _request(number)
        candidates = [_candidate(place, in_flight[place]) for place in range(size)]
        choice = strategy.pick(request, candidates, memory)
        for problem in _wrong_with(choice, candidates):
            found[problem] = None
        if found:
            break
        if strategy.pick(request, candidates, memory) != choice:
            found["the same question has two answers: `pick` must change nothing"] = None
        for share in strategy.shares(request, candidates, memory):
            if len(share.values) != size:
                found[f"share {share.name!r} has {len(share.values)} values"] = None
        if strategy.pick(request, candidates, memory) != choice:
            found["`shares` changes what `pick` answers"] = None
        replica = choice.candidate.replica
        memory.sent(request, replica)
        strategy.sent(request, replica)
        in_flight[candidates.index(choice.candidate)] += number % 3 != 0
    if not found and max(in_flight.values()) > _too_many(in_flight):
        found["one replica gets nearly all requests, however busy it is"] = None
    return [f"with {size} replicas: {problem}" for problem in found]


def _too_many(in_flight: dict[int, int]) -> float:
    return max(0.9 * sum(in_flight.values()), 8)


def _wrong_with(choice: object, candidates: list[Candidate]) -> list[str]:
    if not isinstance(choice, Choice):
        return [f"`pick` returned {type(choice).__name__}, not a Choice"]
    if not any(choice.candidate is each for each in candidates):
        return ["it chose what was not among the candidates"]
    if not choice.reason or len(choice.reason) > REASON_CHARS_MAX:
        return [f"its reason is not a short word: {choice.reason!r:.60}"]
    return []


def _request(number: int) -> RoutingRequest:
    return RoutingRequest(
        request_id=f"r{number}",
        operation=Operation.CHAT,
        workload_class=WorkloadClass.CHAT_INTERACTIVE,
        model="m",
        session="s" if number % 4 == 1 else "",
        prefix=blocks_of(_PROMPT) if number % 4 == 2 else (),
        prompt_bytes=len(_PROMPT) if number % 4 == 2 else 0,
    )


def _candidate(place: int, in_flight: int) -> Candidate:
    capability = ModelCapability(workloads=(Workload.CHAT,), seats=1 + place % 4)
    replica = Replica(ModelId("m"), NeuronId(f"n{place:03}"), 1, capability)
    return candidate_of(replica, in_flight)
