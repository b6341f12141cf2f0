"""Bodies of all requests share one budget."""

from helexa.neuron.runtime.limits import BodyBudget, ExecutorLimits


def test_a_budget_says_when_it_is_overdrawn_and_takes_bytes_back() -> None:
    budget = BodyBudget(10)
    assert budget.take(10)
    assert not budget.take(1)
    budget.give(11)
    assert budget.take(10)


def test_one_body_fits_into_what_all_may_have() -> None:
    limits = ExecutorLimits()
    assert limits.body_bytes_max < limits.bodies_bytes_max
