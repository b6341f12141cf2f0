"""The table of a model's life."""

import itertools

import pytest

from helexa.protocol.lifecycle import STEPS, IllegalStepError, ModelState, is_legal, step


def test_every_state_is_in_the_table_and_can_be_left() -> None:
    assert set(STEPS) == set(ModelState)
    assert all(STEPS[state] for state in ModelState)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(ModelState, ModelState)))
def test_a_step_is_taken_or_refused_as_the_table_says(
    before: ModelState, after: ModelState
) -> None:
    """R2.13: illegal transitions are refused."""
    if before is after or after in STEPS[before]:
        assert is_legal(before, after)
        assert step(before, after) is after
    else:
        with pytest.raises(IllegalStepError, match=f"{before} cannot become {after}"):
            step(before, after)


def test_nothing_is_loaded_without_loading() -> None:
    assert all(ModelState.LOADED not in STEPS[s] for s in ModelState if s is not ModelState.LOADING)
