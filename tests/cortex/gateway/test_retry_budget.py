"""A tenth of all requests may be tried again, and a reserve at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.cortex.gateway.retry_budget import RetryBudget


def test_a_reserve_may_be_spent_at_once_and_is_earned_again_by_requests() -> None:
    budget = RetryBudget(share=0.1, reserve=2)
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(9):
        budget.earn()
    assert not budget.spend()
    for _ in range(2):
        budget.earn()
    assert budget.spend()


@given(st.lists(st.booleans(), max_size=400), st.integers(0, 20))
def test_tries_never_pass_the_share_and_the_reserve(steps: list[bool], reserve: int) -> None:
    """Trouble is not multiplied: at most a tenth on top of what callers ask."""
    budget = RetryBudget(share=0.1, reserve=reserve)
    requests = tries = 0
    for is_request in steps:
        if is_request:
            budget.earn()
            requests += 1
        else:
            tries += budget.spend()
        assert tries <= reserve + 0.1 * requests + 1e-6
        assert budget.left <= reserve


@pytest.mark.parametrize(("share", "reserve"), [(-0.1, 1), (1.1, 1), (0.1, -1)])
def test_a_budget_out_of_range_is_refused(share: float, reserve: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        RetryBudget(share, reserve)
