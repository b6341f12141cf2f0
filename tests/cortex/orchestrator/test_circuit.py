"""When a replica is taken out of routing, for how long, and how many at once."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from helexa.cortex.orchestrator.circuit import (
    CLOSED,
    HALF_LIFE_S,
    OPEN_CEILING_S,
    OPEN_S,
    Circuit,
    CircuitState,
    ended,
    passed,
    restricted_of,
)

OPEN = Circuit(state=CircuitState.OPEN, failed=3.0, open_until_s=10.0, trips=1)


def after(*outcomes: bool, step_s: float = 0.0, start: Circuit = CLOSED) -> Circuit:
    circuit = start
    for number, ok in enumerate(outcomes):
        circuit = ended(circuit, ok=ok, count=1, now=number * step_s)
    return circuit


def test_three_failures_within_seconds_open_it() -> None:
    assert after(False, False, step_s=1.0).state is CircuitState.CLOSED
    assert after(False, False, False, step_s=1.0).state is CircuitState.OPEN


def test_failures_far_apart_open_nothing() -> None:
    assert after(*[False] * 20, step_s=2 * HALF_LIFE_S).state is CircuitState.CLOSED


def test_few_failures_among_many_successes_open_nothing() -> None:
    mixed = after(False, *[True] * 10, False, *[True] * 10, False, False, False)
    assert mixed.state is CircuitState.CLOSED
    assert mixed.ratio() < 0.5


def test_successes_before_any_failure_cost_nothing() -> None:
    assert ended(CLOSED, ok=True, count=5, now=1.0) is CLOSED


def test_an_open_circuit_is_tried_again_when_its_time_is_over() -> None:
    assert passed(OPEN, 9.9).state is CircuitState.OPEN
    assert passed(OPEN, 10.0).state is CircuitState.HALF_OPEN


def test_a_probe_that_works_closes_it_and_one_that_fails_opens_it_for_longer() -> None:
    half = passed(OPEN, 10.0)
    assert ended(half, ok=True, count=1, now=11.0) is CLOSED
    again = ended(half, ok=False, count=1, now=11.0)
    assert (again.state, again.open_until_s) == (CircuitState.OPEN, 11.0 + 2 * OPEN_S)


def test_it_never_stays_open_for_longer_than_the_ceiling() -> None:
    half = replace(passed(OPEN, 10.0), trips=1000)
    assert ended(half, ok=False, count=1, now=0.0).open_until_s == OPEN_CEILING_S


def test_late_failures_of_requests_sent_before_do_not_open_it_for_longer() -> None:
    assert ended(OPEN, ok=False, count=3, now=5.0).open_until_s == OPEN.open_until_s


def test_old_failures_are_forgotten() -> None:
    failed = after(False)
    assert passed(failed, HALF_LIFE_S) is failed
    assert passed(failed, 10 * HALF_LIFE_S) is CLOSED


def test_at_most_half_of_a_models_replicas_are_out_the_worst_first() -> None:
    worse = replace(OPEN, trips=2)
    assert restricted_of([OPEN]) == frozenset()
    assert restricted_of([OPEN, CLOSED]) == {0}
    assert restricted_of([OPEN, worse]) == {1}
    assert restricted_of([OPEN, OPEN, OPEN, worse, CLOSED]) == {0, 3}


@given(
    st.lists(
        st.tuples(st.sampled_from(["ok", "failed", "time"]), st.floats(0.0, 30.0)), max_size=60
    )
)
def test_whatever_happens_an_open_circuit_opens_up_again(steps: list[tuple[str, float]]) -> None:
    now, circuit = 0.0, CLOSED
    for what, wait_s in steps:
        now += wait_s
        if what == "time":
            circuit = passed(circuit, now)
        else:
            circuit = ended(circuit, ok=what == "ok", count=1, now=now)
        assert 0.0 <= circuit.ratio() <= 1.0
        assert circuit.open_until_s <= now + OPEN_CEILING_S
    assert passed(circuit, now + OPEN_CEILING_S).state is not CircuitState.OPEN
