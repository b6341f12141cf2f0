"""The formulas of the scorers."""

import msgspec
import pytest

from helexa.cortex.orchestrator.pace import BYTES_PER_TOKEN, PROMPT_TOKENS_PER_S, Pace
from helexa.cortex.orchestrator.prefix import PrefixIndex, blocks_of, holder_of
from helexa.cortex.orchestrator.requests import Candidate, RoutingRequest, candidate_of
from helexa.cortex.orchestrator.scorers import (
    CACHE_FULL_S,
    Field,
    cache,
    field_of,
    prefix,
    ranks_of,
    session,
    speed,
    wait,
)
from helexa.cortex.orchestrator.snapshot import Replica
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.workload import Operation, WorkloadClass
from tests.fakes.fleet import CHAT

PROMPT = blocks_of(memoryview(bytes(4096)))


def candidate(
    name: str, in_flight: int = 0, seats: int = 4, reported: int = 0, **pace: float
) -> Candidate:
    capability = msgspec.structs.replace(CHAT, seats=seats)
    replica = Replica(ModelId("m"), NeuronId(name), 1, capability, active_requests=reported)
    return candidate_of(replica, in_flight, Pace(**pace))  # type: ignore[arg-type]


def field(*candidates: Candidate, prefixes: PrefixIndex | None = None, **fields: object) -> Field:
    request = RoutingRequest("r", Operation.CHAT, WorkloadClass.CHAT_INTERACTIVE, "m", **fields)  # type: ignore[arg-type]
    return field_of(request, list(candidates), prefixes or PrefixIndex(), 1.5)


def test_load_is_in_flight_and_a_part_of_what_others_sent_by_seats() -> None:
    view = field(candidate("a", 2, 8), candidate("b", 2, 4, reported=6), candidate("c", 3, 2, 1))
    assert view.loads == [0.25, 0.75, 1.5]
    assert view.load_max == pytest.approx(1.5 * 2.5 / 3)


def test_nobody_is_too_busy_while_it_has_a_seat_for_each_request() -> None:
    assert field(candidate("a"), candidate("b")).load_max == 1.0


def test_waiting_is_load_times_what_a_request_takes_there() -> None:
    slow = candidate("a", 2, 4, service_s=10.0)
    fast = candidate("b", 2, 4, service_s=2.0)
    new = candidate("c", 2, 4)
    assert wait(field(slow, fast, new)) == [5.0, 1.0, 3.0]
    assert wait(field(new, candidate("d", 4, 4))) == [0.5, 1.0]


def test_what_must_be_read_again_is_told_in_seconds() -> None:
    index = PrefixIndex()
    index.note(PROMPT[:8], holder_of(NeuronId("a"), 1))
    index.note(PROMPT[:4], holder_of(NeuronId("b"), 1))
    quick = candidate("c")
    quick.pace.prefilled(2000, 1000 / PROMPT_TOKENS_PER_S)
    rows = [candidate("a"), candidate("b"), quick]
    per_byte_s = 1 / (BYTES_PER_TOKEN * PROMPT_TOKENS_PER_S)
    assert prefix(field(*rows, prefixes=index, prefix=PROMPT)) == pytest.approx(
        [0.0, 1024 * per_byte_s, 2048 * per_byte_s / 2]
    )
    assert prefix(field(*rows, prefixes=index)) is None
    assert prefix(field(*rows, prefix=PROMPT)) is None


def test_a_new_process_remembers_nothing() -> None:
    index = PrefixIndex()
    index.note(PROMPT, holder_of(NeuronId("a"), 0))
    assert prefix(field(candidate("a"), candidate("b"), prefixes=index, prefix=PROMPT)) is None


def test_who_knows_the_prompt_and_is_too_busy_gets_no_credit() -> None:
    index = PrefixIndex()
    index.note(PROMPT, holder_of(NeuronId("a"), 1))
    view = field(candidate("a", 7), candidate("b"), prefixes=index, prefix=PROMPT)
    assert prefix(view) is None
    assert view.spilled


def test_a_session_has_one_home_among_those_not_too_busy() -> None:
    rows = [candidate(f"n{i}") for i in range(8)]
    shares = session(field(*rows, session="s"))
    assert shares is not None
    assert sorted(shares) == [0.0] + [1.0] * 7
    home = shares.index(0.0)
    rows[home] = msgspec.structs.replace(rows[home], in_flight=5)
    view = field(*rows, session="s")
    moved = session(view)
    assert moved is not None
    assert moved.index(0.0) != home
    assert view.spilled
    assert session(field(*rows)) is None


def test_a_session_keeps_its_home_when_another_replica_leaves() -> None:
    rows = [candidate(f"n{i}") for i in range(8)]
    moved = 0
    for number in range(200):
        ranks = ranks_of(f"s{number}", rows)
        home = rows[ranks.index(max(ranks))]
        left = [row for row in rows if row is not rows[3]]
        ranks = ranks_of(f"s{number}", left)
        moved += left[ranks.index(max(ranks))] is not home
        assert home is rows[3] or left[ranks.index(max(ranks))] is home
    assert 10 < moved < 45


def test_sessions_spread_evenly() -> None:
    for size in (2, 3, 4, 8):
        rows = [candidate(f"gpu-box-{i}") for i in range(size)]
        homes = [0] * size
        for number in range(4000):
            ranks = ranks_of(f"session-{number}", rows)
            homes[ranks.index(max(ranks))] += 1
        assert min(homes) > 0.8 * 4000 / size, homes


def test_a_cache_that_is_nearly_full_costs() -> None:
    room = CHAT.context_tokens * 4  # type: ignore[operator]
    half = candidate("a", tokens_open=room // 2)
    nearly = candidate("b", tokens_open=room * 9 // 10)
    assert cache(field(half, nearly)) == pytest.approx([0.0, CACHE_FULL_S / 2], abs=0.01)
    assert cache(field(half, half)) is None
    assert cache(field(candidate("a"), candidate("b"))) is None


def test_a_slower_replica_costs_what_an_answer_takes_longer() -> None:
    rows = [
        candidate("a", tokens_per_s=100.0, answer_tokens=300.0),
        candidate("b", tokens_per_s=70.0, answer_tokens=10.0),
        candidate("c", tokens_per_s=20.0),
        candidate("d"),
    ]
    assert speed(field(*rows)) == [0.0, 0.0, 300 / 20 - 300 / 100, 0.0]
    assert speed(field(*rows[:2])) is None
    assert speed(field(rows[3])) is None
