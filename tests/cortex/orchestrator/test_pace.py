"""What is learned of a replica's speed."""

import pytest

from helexa.cortex.orchestrator.pace import ANSWERS_MIN, REPLICAS_MAX, UNKNOWN, WEIGHT, Pace, Paces
from helexa.protocol.ids import ModelId, NeuronId

N, M = NeuronId("n"), ModelId("m")


def test_the_first_value_counts_whole_and_later_ones_move_it() -> None:
    pace = Pace()
    pace.served(2.0)
    assert pace.service_s == 2.0
    pace.served(4.0)
    assert pace.service_s == pytest.approx(2.0 + WEIGHT * 2.0)


def test_a_few_tokens_say_nothing_about_speed() -> None:
    pace = Pace()
    pace.generated(3, 1.0)
    pace.prefilled(10, 0.5)
    pace.generated(100, 0.0)
    assert (pace.tokens_per_s, pace.prompt_tokens_per_s) == (0.0, 0.0)
    pace.prefilled(1000, 0.5)
    assert pace.prompt_tokens_per_s == 2000.0


def test_a_few_answers_say_nothing_about_speed_either() -> None:
    pace = Pace()
    for _ in range(ANSWERS_MIN):
        assert pace.tokens_per_s == 0.0
        pace.generated(100, 2.0)
    assert (pace.tokens_per_s, pace.answer_tokens) == (50.0, 100.0)


def test_the_speed_of_writing_is_what_a_replica_can_do_not_how_busy_it_just_was() -> None:
    pace = Pace()
    pace.generated(100, 20.0)
    for seconds in (2.0, 20.0) * 20:
        pace.generated(100, seconds)
    assert pace.tokens_per_s > 0.9 * 50.0
    for _ in range(200):
        pace.generated(100, 20.0)
    assert pace.tokens_per_s < 1.2 * 5.0


def test_what_was_not_learned_is_unknown_and_looking_learns_nothing() -> None:
    paces = Paces()
    assert paces.of(N, M) is UNKNOWN
    assert len(paces) == 0
    paces.learning(N, M).served(1.0)
    assert paces.of(N, M).service_s == 1.0


def test_the_number_of_replicas_is_bounded() -> None:
    paces = Paces()
    for number in range(REPLICAS_MAX + 5):
        paces.learning(NeuronId(f"n{number}"), M)
    assert len(paces) == REPLICAS_MAX
    assert paces.of(NeuronId("n0"), M) is UNKNOWN
