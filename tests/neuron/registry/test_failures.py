"""How long a model rests after a failure."""

from hypothesis import given
from hypothesis import strategies as st

from helexa.neuron.registry.failures import FailureHistory, spread
from helexa.neuron.registry.limits import Limits

LIMITS = Limits(memory_budget_bytes=1, crashes_max=5, crash_window_s=100.0, crash_pause_s=77.0)


def test_pauses_grow_with_failures_in_a_row():
    history = FailureHistory()
    pauses = [history.note("m", 1000.0 * n, LIMITS) for n in range(8)]
    bounds = [LIMITS.retry.bound_s(n) for n in range(8)]
    assert all(b / 2 <= pause < b for pause, b in zip(pauses, bounds, strict=True))
    assert bounds[-1] == 60.0
    assert not history.looping


def test_enough_failures_in_the_window_are_a_loop():
    history = FailureHistory()
    pauses = [history.note("m", float(n), LIMITS) for n in range(5)]
    assert pauses[4] == 77.0
    assert history.looping
    assert history.note("m", 80.0, LIMITS) != 77.0
    assert not history.looping


def test_failures_outside_the_window_are_no_loop():
    history = FailureHistory()
    for n in range(20):
        history.note("m", n * 25.0, LIMITS)
        assert not history.looping


def test_forgiving_starts_anew():
    history = FailureHistory()
    for n in range(5):
        history.note("m", float(n), LIMITS)
    history.forgive()
    assert (history.count, history.looping) == (0, False)
    assert history.note("m", 5.0, LIMITS) <= 1.0


@given(st.text())
def test_the_spread_is_fixed_and_between_a_half_and_one(text):
    assert 0.5 <= spread(text) < 1.0
    assert spread(text) == spread(text)


def test_models_that_died_together_start_apart():
    pauses = {FailureHistory().note(f"m{n}", 0.0, LIMITS) for n in range(20)}
    assert len(pauses) > 15
