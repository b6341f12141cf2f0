"""What is learned of a replica's speed."""

import pytest

from helexa.cortex.orchestrator.pace import REPLICAS_MAX, UNKNOWN, WEIGHT, Pace, Paces
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
    pace.generated(100, 2.0)
    pace.prefilled(1000, 0.5)
    assert (pace.tokens_per_s, pace.prompt_tokens_per_s) == (50.0, 2000.0)


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
