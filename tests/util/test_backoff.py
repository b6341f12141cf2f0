"""Delays grow, are capped, and are spread."""

from hypothesis import given
from hypothesis import strategies as st

from helexa.util.backoff import Backoff


def test_the_bound_doubles_up_to_the_ceiling() -> None:
    backoff = Backoff(initial_s=0.5, ceiling_s=15.0)
    assert [backoff.bound_s(n) for n in range(7)] == [0.5, 1, 2, 4, 8, 15, 15]


@given(attempt=st.integers(-5, 10**6), entropy=st.floats(0, 1, exclude_max=True))
def test_a_delay_is_between_zero_and_its_bound(attempt: int, entropy: float) -> None:
    backoff = Backoff()
    assert 0 <= backoff.delay_s(attempt, entropy) <= backoff.bound_s(attempt) <= 15
