"""The machine's clocks."""

import os
import time

import pytest

from helexa.util.clock import Clock, SystemClock


def test_the_monotonic_clock_never_goes_back() -> None:
    clock: Clock = SystemClock()
    readings = [clock.monotonic() for _ in range(1000)]
    assert readings == sorted(readings)


def test_the_wall_clock_counts_from_the_epoch() -> None:
    assert SystemClock().wall() > 1_700_000_000


def test_local_time_counts_the_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    zone = os.environ.get("TZ")
    try:
        monkeypatch.setenv("TZ", "IST-5:30")  # as POSIX writes it: five and a half hours ahead
        time.tzset()
        assert 19_799 < SystemClock.local() - SystemClock().wall() < 19_801
    finally:
        monkeypatch.undo()
        time.tzset()
    assert os.environ.get("TZ") == zone
