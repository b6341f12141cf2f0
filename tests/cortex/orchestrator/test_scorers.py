"""The formulas of the scorers."""

from helexa.cortex.orchestrator.requests import Candidate
from helexa.cortex.orchestrator.scorers import best_of, expected_load, foreign_load, scores_of
from helexa.cortex.orchestrator.snapshot import Replica
from helexa.protocol.ids import ModelId, NeuronId
from tests.fakes.fleet import CHAT


def candidate(name: str, in_flight: int, seats: int, reported: int = 0) -> Candidate:
    replica = Replica(ModelId("m"), NeuronId(name), 1, CHAT, active_requests=reported)
    return Candidate(replica, in_flight, seats)


def test_expected_load_is_in_flight_by_seats() -> None:
    assert expected_load([candidate("a", 2, 8), candidate("b", 3, 2)]) == [0.25, 1.5]


def test_foreign_load_is_what_we_did_not_send() -> None:
    rows = [candidate("a", 2, 4, reported=6), candidate("b", 5, 4, reported=1)]
    assert foreign_load(rows) == [1.0, 0.0]


def test_scores_are_weighted_sums() -> None:
    assert scores_of([candidate("a", 2, 4, reported=6)]) == [0.5 + 0.25]


def test_the_lowest_score_wins() -> None:
    rows = [candidate("a", 2, 4), candidate("b", 1, 4), candidate("c", 3, 4)]
    assert best_of(rows, "r1").replica.neuron_id == "b"
