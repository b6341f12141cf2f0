"""What the strategies choose, and the word for it."""

import random
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.cortex.orchestrator.prefix import blocks_of
from helexa.cortex.orchestrator.requests import (
    Candidate,
    Choice,
    RoutingDecision,
    RoutingRequest,
    candidate_of,
)
from helexa.cortex.orchestrator.routing_memory import RoutingMemory
from helexa.cortex.orchestrator.scorers import AFFINITY_LOAD_FREE, SCORERS
from helexa.cortex.orchestrator.snapshot import ModelView, Replica
from helexa.cortex.orchestrator.strategies import (
    BUILT_IN,
    MODELS_MAX,
    LeastSeconds,
    RoundRobin,
    RoutingPolicy,
    Strategy,
)
from helexa.cortex.orchestrator.strategy_check import problems_of
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.inference import Trailer
from helexa.protocol.neuron import NeuronDescriptor
from helexa.protocol.workload import Operation, WorkloadClass
from tests.fakes.fleet import CHAT, model

M = ModelId("m")
PROMPT = blocks_of(memoryview(bytes(64 << 10)))


def request(number: int = 0, **fields: object) -> RoutingRequest:
    kind = WorkloadClass.CHAT_INTERACTIVE
    return RoutingRequest(f"r{number}", Operation.CHAT, kind, "m", **fields)  # type: ignore[arg-type]


def replica(name: str, model_id: str = "m", seats: int = 4) -> Replica:
    capability = msgspec.structs.replace(CHAT, seats=seats)
    return Replica(ModelId(model_id), NeuronId(name), 1, capability)


class Fleet:
    """Replicas whose requests never end, unless told."""

    def __init__(self, size: int, strategy: Strategy | None = None, seats: int = 4) -> None:
        self.strategy = strategy or LeastSeconds(RoutingPolicy())
        self.memory = RoutingMemory()
        self.seats = seats
        self.open = {f"n{i}": 0 for i in range(size)}
        self.sent: list[tuple[RoutingRequest, Choice]] = []

    def candidates(self) -> list[Candidate]:
        pace_of = self.memory.paces.of
        return [
            candidate_of(replica(name, seats=self.seats), n, pace_of(NeuronId(name), M))
            for name, n in self.open.items()
        ]

    def send(self, asked: RoutingRequest) -> tuple[str, str]:
        choice = self.strategy.pick(asked, self.candidates(), self.memory)
        where = choice.candidate.replica
        self.memory.sent(asked, where)
        self.strategy.sent(asked, where)
        self.open[where.neuron_id] += 1
        self.sent.append((asked, choice))
        return where.neuron_id, choice.reason

    def end_all(self) -> None:
        for asked, choice in self.sent:
            there = choice.candidate.replica
            neuron = NeuronDescriptor(id=there.neuron_id, epoch=there.epoch)
            view = ModelView(config=model("m"), replicas=(there,))
            decision = RoutingDecision(view, (there,), (neuron,), reason=choice.reason)
            self.memory.ended(asked, decision, Trailer(duration_ms=1000.0))
        self.sent = []
        self.open = dict.fromkeys(self.open, 0)


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_built_in_keeps_the_rules_of_plug_ins(name: str) -> None:
    assert problems_of(BUILT_IN[name]) == []


def test_every_scorer_has_a_weight_and_no_other_has() -> None:
    assert RoutingPolicy().weights.keys() == SCORERS.keys()
    with pytest.raises(AssertionError, match="nonsense"):
        LeastSeconds(RoutingPolicy(weights={"nonsense": 1.0}))


def test_the_least_busy_one_is_chosen_and_equals_are_told_apart_by_the_request() -> None:
    """R2.27."""
    fleet = Fleet(4)
    fleet.open = {"n0": 2, "n1": 1, "n2": 1, "n3": 2}
    picked = [fleet.strategy.pick(request(i), fleet.candidates(), fleet.memory) for i in range(99)]
    assert {p.candidate.replica.neuron_id for p in picked} == {"n1", "n2"}
    assert {p.reason for p in picked} == {"least_loaded"}


def test_a_conversation_goes_where_its_beginning_is_known() -> None:
    fleet = Fleet(4)
    first, reason = fleet.send(request(0, prefix=PROMPT[:10]))
    assert reason == "least_loaded"
    fleet.end_all()
    for turn in range(1, 30):
        assert fleet.send(request(turn, prefix=PROMPT[: 10 + turn])) == (first, "prefix")
        fleet.end_all()


@pytest.mark.parametrize("system_bytes", [200, 600, 2000, 20_000])
@pytest.mark.parametrize("at_once", [1, 4])
def test_conversations_with_one_system_prompt_spread_and_then_stay(
    system_bytes: int, at_once: int
) -> None:
    """R2.27: who read the system prompt first must not get them all, idle or not."""
    fleet = Fleet(4)
    texts = [bytes(system_bytes)] * 40
    homes: dict[int, str] = {}
    for _ in range(8):
        for number, before in enumerate(texts):
            text = before + random.Random(f"{number} {len(before)}").randbytes(4096)
            texts[number] = text
            asked = request(number, prefix=blocks_of(memoryview(text)), prompt_bytes=len(text))
            home, _ = fleet.send(asked)
            assert homes.setdefault(number, home) == home
            if number % at_once == at_once - 1:
                fleet.end_all()
    counts = Counter(homes.values())
    assert len(counts) == 4
    assert max(counts.values()) <= 15


def test_a_replica_that_was_slow_once_is_used_again() -> None:
    fleet = Fleet(2)
    for name, seconds in (("n0", 0.1), ("n1", 10.0)):
        fleet.memory.paces.learning(NeuronId(name), M).generated(20, seconds)
    places = set()
    for number in range(20):
        places.add(fleet.send(request(number))[0])
        fleet.end_all()
    assert places == {"n0", "n1"}


def test_what_a_prompt_saves_is_weighed_against_waiting() -> None:
    fleet = Fleet(2)
    first, _ = fleet.send(request(0, prefix=PROMPT[:2]))
    fleet.end_all()
    fleet.memory.paces.learning(NeuronId(first), M).served(60.0)
    waits = [
        candidate_of(replica(name), int(name == first), fleet.memory.paces.of(NeuronId(name), M))
        for name in fleet.open
    ]
    short = fleet.strategy.pick(request(1, prefix=PROMPT[:2]), waits, fleet.memory)
    assert short.candidate.replica.neuron_id != first, "a quarter of a minute for 256 tokens"


@given(st.integers(2, 8), st.integers(1, 8), st.integers(1, 200), st.booleans())
def test_a_hot_prompt_or_session_spreads_under_load(
    size: int, seats: int, requests: int, by_session: bool
) -> None:
    fleet = Fleet(size, seats=seats)
    hot = request(0, session="s") if by_session else request(0, prefix=PROMPT)
    fleet.send(hot)
    fleet.end_all()
    for _ in range(requests):
        fleet.send(hot)
        loads = [count / seats for count in fleet.open.values()]
        average = sum(loads) / size
        # One request more than the bound: the one that reached it.
        assert max(loads) <= max(AFFINITY_LOAD_FREE, 2.0 * average) + 1 / seats + 1e-9


@given(st.integers(2, 8), st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_a_session_sticks_while_load_is_balanced(size: int, numbers: list[int]) -> None:
    fleet = Fleet(size)
    homes: dict[int, str] = {}
    for turn, number in enumerate(numbers):
        home, reason = fleet.send(request(turn, session=f"s{number}"))
        assert homes.setdefault(number, home) == home
        assert reason == "session"
        fleet.end_all()


def test_a_session_too_hot_for_its_home_says_so() -> None:
    fleet = Fleet(4, strategy=LeastSeconds(RoutingPolicy(weights={"wait": 1.0, "prefix": 1.0})))
    first, _ = fleet.send(request(0, prefix=PROMPT))
    fleet.end_all()
    fleet.open[first] = 9
    assert fleet.send(request(1, prefix=PROMPT))[1] == "spill"


def test_a_weight_of_zero_switches_a_scorer_off() -> None:
    fleet = Fleet(4, strategy=LeastSeconds(RoutingPolicy(weights={"session": 0.0, "wait": 1.0})))
    places = {fleet.send(request(i, session="s"))[0] for i in range(4)}
    assert len(places) == 4


def test_the_shares_are_those_of_the_choice() -> None:
    fleet = Fleet(2)
    fleet.send(request(0, prefix=PROMPT))
    fleet.end_all()
    shares = fleet.strategy.shares(request(1, prefix=PROMPT), fleet.candidates(), fleet.memory)
    assert [share.name for share in shares] == ["wait", "prefix"]
    assert all(len(share.values) == 2 for share in shares)


def test_round_robin_takes_turns_whatever_the_load_and_survives_who_leaves() -> None:
    fleet = Fleet(3, strategy=RoundRobin(RoutingPolicy()))
    fleet.open["n1"] = 50
    assert [fleet.send(request(i))[0] for i in range(4)] == ["n0", "n1", "n2", "n0"]
    del fleet.open["n1"]
    assert [fleet.send(request(i)) for i in range(2)] == [
        ("n2", "round_robin"), ("n0", "round_robin"),
    ]  # fmt: skip


def test_round_robin_remembers_a_bounded_number_of_models() -> None:
    strategy = RoundRobin(RoutingPolicy())
    for number in range(MODELS_MAX + 10):
        strategy.sent(request(), replica("n0", f"m{number}"))
    assert len(strategy._last) == MODELS_MAX
