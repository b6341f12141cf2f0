"""The machine's clocks."""

from helexa.util.clock import Clock, SystemClock


def test_the_monotonic_clock_never_goes_back() -> None:
    clock: Clock = SystemClock()
    readings = [clock.monotonic() for _ in range(1000)]
    assert readings == sorted(readings)


def test_the_wall_clock_counts_from_the_epoch() -> None:
    assert SystemClock().wall() > 1_700_000_000
