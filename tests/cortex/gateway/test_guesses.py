"""Budgets of failures."""

from hypothesis import given
from hypothesis import strategies as st

from helexa.cortex.gateway.guesses import Guesses


def test_somebody_may_fail_some_times_and_then_waits_a_second_for_each_more() -> None:
    guesses = Guesses(failures_max=3, forgive_s=1.0)
    for _ in range(3):
        assert guesses.wait_s("a", 100.0) == 0
        guesses.failed("a", 100.0)
    assert guesses.wait_s("a", 100.0) == 1
    assert guesses.wait_s("a", 101.0) == 0
    assert guesses.wait_s("b", 100.0) == 0


def test_a_flood_never_makes_the_wait_longer() -> None:
    guesses = Guesses(failures_max=3, forgive_s=1.0)
    for _ in range(10_000):
        guesses.failed("a", 100.0)
    assert guesses.wait_s("a", 100.0) == 1
    assert guesses.wait_s("a", 103.0) == 0


def test_memory_is_bounded_and_who_failed_longest_ago_is_forgotten_first() -> None:
    guesses = Guesses(failures_max=1, forgive_s=10.0, remembered_max=100)
    for number in range(1000):
        guesses.failed(str(number), float(number) / 1000)
    assert len(guesses) == 100
    assert guesses.wait_s("999", 1.0) > 0
    assert guesses.wait_s("0", 1.0) == 0


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.booleans()), max_size=200))
def test_no_more_failures_get_through_than_the_budget_and_the_time_allow(
    steps: list[tuple[float, bool]],
) -> None:
    guesses = Guesses(failures_max=5, forgive_s=1.0)
    now_s, through = 0.0, 0
    for pause_s, _ in steps:
        now_s += pause_s
        if not guesses.wait_s("a", now_s):
            through += 1
        guesses.failed("a", now_s)
    assert through <= 5 + now_s + 1
