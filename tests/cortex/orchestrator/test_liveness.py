"""Presence by silence, and who may have an id."""

import pytest

from helexa.cortex.orchestrator.liveness import (
    Holder,
    LivenessPolicy,
    NeuronState,
    next_deadline_s,
    refuse_takeover,
    state_after_silence,
)

POLICY = LivenessPolicy()


@pytest.mark.parametrize(
    ("silence_s", "state"),
    [
        (0.0, NeuronState.CONNECTED),
        (9.9, NeuronState.CONNECTED),
        (10.0, NeuronState.SUSPECT),
        (14.9, NeuronState.SUSPECT),
        (15.0, NeuronState.GONE),
        (1e9, NeuronState.GONE),
    ],
)
def test_silence_makes_a_neuron_suspect_and_then_gone(silence_s: float, state: NeuronState) -> None:
    assert state_after_silence(NeuronState.CONNECTED, silence_s, POLICY) is state


@pytest.mark.parametrize("state", [NeuronState.GONE, NeuronState.UNCONFIRMED])
def test_silence_changes_nothing_about_a_neuron_that_is_not_there(state: NeuronState) -> None:
    assert state_after_silence(state, 1000.0, POLICY) is state
    assert next_deadline_s(state, 5.0, POLICY) is None


def test_a_leaving_neuron_stays_leaving_until_it_is_gone() -> None:
    assert state_after_silence(NeuronState.LEAVING, 12.0, POLICY) is NeuronState.LEAVING
    assert state_after_silence(NeuronState.LEAVING, 15.0, POLICY) is NeuronState.GONE


def test_the_next_deadline_is_where_the_state_changes() -> None:
    assert next_deadline_s(NeuronState.CONNECTED, 100.0, POLICY) == 110.0
    assert next_deadline_s(NeuronState.SUSPECT, 100.0, POLICY) == 115.0


def holder(**changes: object) -> Holder:
    fields = {"epoch": 5, "present": True, "heard_s": 100.0, "taken_over_s": None}
    return Holder(**(fields | changes))  # type: ignore[arg-type]


def test_anyone_may_have_the_id_of_a_neuron_that_is_gone() -> None:
    assert refuse_takeover(holder(present=False), 1, 100.0, POLICY) is None


def test_the_same_process_may_always_reconnect() -> None:
    assert refuse_takeover(holder(taken_over_s=99.0), 5, 100.0, POLICY) is None


def test_a_newer_process_waits_until_the_holder_is_silent() -> None:
    assert refuse_takeover(holder(), 6, 109.9, POLICY) is not None
    assert refuse_takeover(holder(), 6, 110.0, POLICY) is None


def test_an_older_process_never_takes_over_from_one_that_is_there() -> None:
    assert refuse_takeover(holder(), 4, 114.0, POLICY) is not None


def test_an_id_changes_hands_at_most_once_a_minute() -> None:
    assert refuse_takeover(holder(taken_over_s=60.0), 6, 119.9, POLICY) is not None
    assert refuse_takeover(holder(taken_over_s=60.0), 6, 120.0, POLICY) is None
