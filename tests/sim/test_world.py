"""Whole worlds: seeds, plans that once found something, and plans that hypothesis chooses."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sim.faults import KINDS, Fault, Plan, kept_plans, plan_of
from tests.sim.world import Shape, run

SEEDS = range(120)
"""In the suite; `make sim` lives through thousands."""
KEPT = kept_plans()


@pytest.mark.parametrize("seed", SEEDS)
def test_what_must_hold_holds_whatever_goes_wrong(seed: int) -> None:
    """R2.35: many logical neurons, one cortex, traffic, and every fault there is."""
    run(plan_of(seed))


@pytest.mark.parametrize("name", KEPT)
def test_what_was_found_once_stays_mended(name: str) -> None:
    run(KEPT[name])


_FAULTS = st.lists(
    st.builds(
        Fault,
        at_s=st.floats(3, 60),
        kind=st.sampled_from(KINDS),
        target=st.integers(0, 5),
        amount_s=st.floats(0.1, 40),
    ),
    max_size=8,
).map(lambda faults: tuple(sorted(faults, key=lambda fault: fault.at_s)))


@given(seed=st.integers(0, 2**20), faults=_FAULTS)
# The same plans each time: a suite that finds something new is `make sim`.
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_no_faults_that_hypothesis_thinks_of_break_a_rule(
    seed: int, faults: tuple[Fault, ...]
) -> None:
    """R2.35: a failing plan is printed, shrunk, as `Plan(seed=…, faults=…)`."""
    run(Plan(seed=seed, faults=faults))


def test_a_world_is_the_same_each_time() -> None:
    plan = plan_of(7)
    assert repr(run(plan)) == repr(run(plan))


def test_twenty_neurons_without_faults_are_served_and_move_nothing() -> None:
    """R2.35, R2.38: under a steady load each model is started once, and again for no reason."""
    outcome = run(Plan(seed=4, calm_s=600), Shape(neurons=20, models=8, per_second=0.1))
    assert outcome.starts <= 8 * 2, "more than one replica only where the load asks for it"
    assert outcome.requests["ok"] > 100
    assert set(outcome.requests) <= {"ok", "cancelled", "service_unavailable"}
