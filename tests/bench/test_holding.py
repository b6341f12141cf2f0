"""The bench of held requests: it measures what it says it does."""

import os
import time

import pytest

from bench.holding import birth_s, line_of, measure, percentile


@pytest.mark.slow
def test_a_held_request_is_told_apart_into_before_load_and_after() -> None:
    ((held,),) = measure([0.3], 1)
    assert held.load_s >= 0.3
    assert held.before_s > -0.011
    assert held.after_s > 0.0


def test_the_birth_of_a_process_is_told_on_the_clock_that_all_share() -> None:
    assert 0.0 < birth_s(os.getpid()) <= time.monotonic()


def test_percentiles_are_values_that_were_seen() -> None:
    values = [5.0, 1.0, 3.0, 2.0, 4.0]
    assert (percentile(values, 0.5), percentile(values, 0.99)) == (3.0, 5.0)
    assert "p50     2.0 ms   p99     3.0 ms   max     3.0 ms" in line_of("x", [0.001, 0.002, 0.003])
