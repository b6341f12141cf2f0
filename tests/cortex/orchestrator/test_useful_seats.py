"""How many requests at a time are of use: what is learned, and when that changes, both ways."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.cortex.orchestrator.useful_seats import (
    CONCURRENCIES,
    OBSERVATIONS_MIN,
    PROBE_S,
    REST_S,
    Curve,
    UsefulSeats,
    step_of,
)

LEAST = 2
RISING = {1: 30.0, 2: 58.0, 4: 95.0, 8: 99.0}


def curve_of(speeds: dict[int, float], times: int = OBSERVATIONS_MIN) -> Curve:
    curve = Curve()
    for concurrency, speed in speeds.items():
        curve = curve.with_sample(concurrency, speed, times)
    return curve


def settled(seats: UsefulSeats, now: float = 0.0, *, waited_for: bool = False) -> UsefulSeats:
    return seats.settled(least=LEAST, waited_for=waited_for, now=now)


def test_the_fewest_with_nearly_the_best_throughput_are_of_use() -> None:
    """R6.10: beyond the knee more requests at a time bring no more tokens."""
    seats = settled(UsefulSeats(curve_of(RISING)))
    assert (seats.seats(8, LEAST), seats.seats(256, LEAST)) == (4, 4)
    assert seats.seats(3, LEAST) == 3, "never more than the engine has"


def test_nothing_is_learned_from_too_little() -> None:
    few = settled(UsefulSeats(curve_of({1: 10.0, 8: 10.0}, OBSERVATIONS_MIN - 1)))
    assert few.seats(8, LEAST) == 8
    rising = settled(UsefulSeats(curve_of({2: 10.0, 8: 80.0})))
    assert rising.seats(8, LEAST) == 8, "the best was seen at the highest: there may be more"


def test_a_floor_holds_whatever_was_learned() -> None:
    flat = settled(UsefulSeats(curve_of(dict.fromkeys((1, 2, 4, 8), 10.0))))
    assert flat.seats(8, LEAST) == 2
    assert flat.seats(1, LEAST) == 1, "and never more than the engine has"
    assert flat.settled(least=8, waited_for=False, now=0.0).seats(8, 8) == 8


def test_what_lies_between_the_shares_moves_nothing() -> None:
    """Hysteresis: a knee that wavers between two steps is taken once."""
    seats = settled(UsefulSeats(curve_of({2: 91.0, 4: 99.0, 8: 100.0})))
    assert seats.limit == 2
    for speed in (85.0, 95.0, 81.0, 99.0):
        wavering = UsefulSeats(curve_of({2: speed, 4: 99.0, 8: 100.0}), seats.limit)
        assert settled(wavering).limit == 2
    assert settled(UsefulSeats(curve_of({2: 79.0, 4: 99.0, 8: 100.0}), 2)).limit == 4


def test_after_a_change_the_limit_rests() -> None:
    seats = settled(UsefulSeats(curve_of(RISING)), 100.0)
    slower = replace(seats, curve=curve_of({2: 90.0, 4: 40.0, 8: 40.0}))
    assert settled(slower, 100.0 + REST_S - 1.0).limit == 4
    assert settled(slower, 100.0 + REST_S).limit == 2


def test_a_probe_is_only_made_where_the_limit_keeps_somebody_waiting() -> None:
    seats = settled(UsefulSeats(curve_of(RISING)), 0.0)
    assert not settled(seats, PROBE_S - 1.0, waited_for=True).probing
    assert not settled(seats, 2 * PROBE_S).probing
    probing = settled(seats, PROBE_S, waited_for=True)
    assert (probing.probing, probing.seats(64, LEAST)) == (True, 8)
    assert not probing.curve.knows(8), "judged by what it does now"
    assert settled(probing, PROBE_S + 1.0) is probing, "not judged before enough was seen"


def test_a_probe_that_brings_nothing_changes_nothing_until_the_next_one() -> None:
    seats = settled(UsefulSeats(curve_of(RISING)))
    probing = settled(seats, PROBE_S, waited_for=True)
    tried = UsefulSeats(
        probing.curve.with_sample(8, 101.0, OBSERVATIONS_MIN), probing.limit, probing=True
    )
    after = settled(tried, 1000.0, waited_for=True)
    assert (after.limit, after.probing, after.probe_at_s) == (4, False, 1000.0 + PROBE_S)


def test_a_probe_that_brings_more_raises_the_limit_and_the_next_one_comes_soon() -> None:
    seats = settled(UsefulSeats(curve_of(RISING | {16: 99.0})))
    probing = settled(seats, PROBE_S, waited_for=True)
    tried = UsefulSeats(
        probing.curve.with_sample(8, 180.0, OBSERVATIONS_MIN), probing.limit, probing=True
    )
    after = settled(tried, 1000.0, waited_for=True)
    assert (after.limit, after.probe_at_s) == (8, 1000.0 + REST_S)


def test_each_number_belongs_to_the_step_above_it() -> None:
    assert [CONCURRENCIES[step_of(n)] for n in (0.5, 1, 1.5, 3, 8, 9, 1e9)] == [
        1, 1, 2, 4, 8, 16, 256,
    ]  # fmt: skip


class Replica:
    """A busy replica in a loop with what is learned of it: so many tokens a second at each `n`."""

    def __init__(self, reported: int, noise: Callable[[], float]) -> None:
        self.reported = reported
        self.noise = noise
        self.useful = UsefulSeats(Curve())
        self.now = 0.0
        self.given: list[int] = []

    def live(self, seconds: float, speed: Callable[[int], float]) -> None:
        """Pass time under more load than it bears; each step, requests end as the curve has it."""
        until_s = self.now + seconds
        while self.now < until_s:
            self.now += 10.0
            count = self.useful.seats(self.reported, LEAST)
            curve = self.useful.curve.with_sample(count, speed(count) * self.noise(), 5)
            useful = replace(self.useful, curve=curve)
            self.useful = settled(useful, self.now, waited_for=True)
            self.given.append(self.useful.seats(self.reported, LEAST))


def ramp(knee: int) -> Callable[[int], float]:
    return lambda count: 10.0 * min(count, knee) + 0.01 * count


def morning(replica: Replica, speed: Callable[[int], float]) -> None:
    """Let the load rise from one request to more than it bears, as each day does."""
    for step in CONCURRENCIES:
        if step <= replica.reported:
            curve = replica.useful.curve.with_sample(step, speed(step), OBSERVATIONS_MIN)
            replica.useful = settled(UsefulSeats(curve), replica.now)


@pytest.mark.parametrize("knee", [2, 4, 8, 16])
@pytest.mark.parametrize("later", [2, 4, 8, 16, 32])
def test_a_busy_replica_finds_its_knee_again_and_does_not_swing(knee: int, later: int) -> None:
    """One bad hour must not count for ever, and noise of a tenth must not move it."""
    dice = Random(f"{knee} {later}")
    replica = Replica(reported=32, noise=lambda: dice.uniform(0.9, 1.1))
    morning(replica, ramp(knee))
    assert replica.useful.limit == knee
    replica.live(4 * 3600.0, ramp(knee))
    assert replica.useful.limit == knee
    replica.live(4 * 3600.0, ramp(later))
    assert later <= replica.useful.seats(32, LEAST) <= max(later, knee) * 2
    ups = sum(a < b for a, b in pairwise(replica.given))
    assert ups <= 8 * 3600.0 / PROBE_S + len(CONCURRENCIES), "it rises in probes, and once more"


STEPS = st.lists(
    st.tuples(
        st.floats(0.1, 1000.0), st.floats(0.0, 1e6), st.integers(1, 50), st.booleans(),
        st.floats(0.0, 2 * PROBE_S),
    ),
    max_size=60,
)  # fmt: skip


@given(steps=STEPS, reported=st.integers(1, 512), least=st.integers(1, 600))
def test_seats_stay_between_the_floor_and_what_the_engine_has(
    steps: list[tuple[float, float, int, bool, float]], reported: int, least: int
) -> None:
    useful, now = UsefulSeats(Curve()), 0.0
    for concurrency, speed, requests, waited_for, pause_s in steps:
        now += pause_s
        curve = useful.curve.with_sample(concurrency, speed, requests)
        useful = replace(useful, curve=curve)
        useful = useful.settled(least=least, waited_for=waited_for, now=now)
        assert min(reported, least) <= useful.seats(reported, least) <= reported
        assert useful.limit == 0 or useful.limit in CONCURRENCIES
