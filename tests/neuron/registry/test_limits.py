"""The bounds fit each other."""

import dataclasses

import pytest

from helexa.neuron.registry.limits import Limits


def test_defaults_cannot_let_a_crash_loop_hide_behind_its_own_pauses():
    """Five starts with the pauses between them fit into the window, so a loop is seen."""
    limits = Limits(memory_budget_bytes=1)
    pauses_s = sum(limits.retry.bound_s(n) for n in range(limits.crashes_max - 1))
    assert pauses_s < limits.crash_window_s
    assert limits.stable_s >= limits.crash_window_s


def test_limits_cannot_be_changed_while_they_are_used():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits(memory_budget_bytes=1).drain_s = 5.0  # type: ignore[misc]
