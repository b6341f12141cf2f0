"""Who makes room for whom: each rule by itself, and swaps in both directions (lesson 35)."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from helexa.cortex.orchestrator.retention import (
    FORECAST_IDLE_S,
    Held,
    Newcomer,
    refusal,
    retention_key,
    standing,
)
from helexa.cortex.orchestrator.rules import ModelRules, Priority, ProvisioningPolicy
from helexa.protocol.ids import ModelId

POLICY = ProvisioningPolicy(hold_max_s=20.0, idle_min_s=5.0)
M, X = ModelId("m"), ModelId("x")
IDLE = Held(
    model_id=M, bytes=1, rules=ModelRules(min_replicas=0), idle_s=60.0, busy=False, loaded=True,
    leaving=False, loaded_since_s=0.0, ours=True, surplus=True,
)  # fmt: skip
ASKED = Newcomer(X, Priority.NORMAL, waiting_since_s=100.0, short=False)
BUSY = replace(IDLE, busy=True, idle_s=0.0)


def why(held: Held, newcomer: Newcomer = ASKED, now: float = 100.0) -> str:
    return refusal(held, newcomer, POLICY, now)


def test_an_idle_model_makes_room_for_one_that_is_waited_for() -> None:
    assert why(IDLE) == ""


def test_nobody_makes_room_for_what_nobody_waits_for() -> None:
    assert "nobody waits for x" in why(IDLE, replace(ASKED, waiting_since_s=None))


def test_a_guaranteed_replica_that_is_missing_counts_as_waited_for() -> None:
    assert why(IDLE, replace(ASKED, waiting_since_s=None, short=True)) == ""
    assert why(BUSY, replace(ASKED, waiting_since_s=None, short=True)) == "in use"


def test_a_pinned_model_never_leaves() -> None:
    pinned = replace(IDLE, rules=ModelRules(pinned=True))
    assert why(pinned, replace(ASKED, priority=Priority.HIGH), 1e6) == "pinned"


def test_a_higher_class_is_never_displaced_and_a_lower_one_is() -> None:
    """Lesson 35: in both directions."""
    high = replace(IDLE, rules=ModelRules(priority=Priority.HIGH))
    assert "higher priority (high)" in why(high)
    assert why(high, replace(ASKED, priority=Priority.HIGH)) == ""
    low = replace(IDLE, rules=ModelRules(priority=Priority.LOW))
    assert why(low) == ""


FORECAST = replace(ASKED, waiting_since_s=None, forecast=True)
LONG_IDLE = replace(IDLE, idle_s=FORECAST_IDLE_S)


def test_what_is_only_forecast_takes_the_place_of_what_has_been_idle_for_long() -> None:
    assert why(LONG_IDLE, FORECAST) == ""
    assert "in use less than 10 min ago" in why(IDLE, FORECAST)
    assert "in use" in why(replace(LONG_IDLE, busy=True), FORECAST, 1e6), (
        "and never of what is used"
    )


def test_what_is_only_forecast_displaces_nothing_that_somebody_wants() -> None:
    guaranteed = ModelRules(min_replicas=1, guaranteed=True, priority=Priority.LOW)
    kept = replace(LONG_IDLE, rules=guaranteed, surplus=False)
    assert why(replace(LONG_IDLE, rules=ModelRules(pinned=True)), FORECAST) == "pinned"
    assert "min_replicas 1" in why(kept, replace(FORECAST, priority=Priority.HIGH))
    assert "at this hour, too" in why(replace(LONG_IDLE, warm=True), FORECAST)
    high = ModelRules(min_replicas=0, priority=Priority.HIGH)
    assert "higher priority" in why(replace(LONG_IDLE, rules=high, ahead=True), FORECAST)


def test_what_is_there_by_forecast_alone_leaves_first_and_at_once_for_who_is_waited_for() -> None:
    high = ModelRules(min_replicas=0, priority=Priority.HIGH)
    ahead = replace(IDLE, rules=high, idle_s=0.0, warm=True, ahead=True)
    assert why(ahead) == ""
    assert why(ahead, replace(ASKED, waiting_since_s=None, short=True)) == ""
    assert why(replace(ahead, loaded=False)) == "loading"
    assert retention_key(ahead) < retention_key(replace(IDLE, idle_s=1e6))


def test_min_replicas_leave_only_for_a_higher_class() -> None:
    """R2.31: what is guaranteed stays; a further replica of the same model may go."""
    rules = ModelRules(min_replicas=1, guaranteed=True)
    kept = replace(IDLE, rules=rules, surplus=False)
    assert "min_replicas 1" in why(kept)
    assert why(replace(kept, surplus=True)) == ""
    assert why(kept, replace(ASKED, priority=Priority.HIGH)) == ""


def test_a_model_that_was_used_a_moment_ago_is_not_thrown_out() -> None:
    assert why(replace(IDLE, idle_s=4.0)) == "in use for up to 20 s more"
    assert why(replace(IDLE, idle_s=5.0)) == ""


def test_a_busy_model_has_its_turn_and_then_makes_room() -> None:
    """Batch by loaded model before swapping, with a maximum wait."""
    assert why(BUSY, now=119.0) == "in use for up to 1 s more"
    assert why(BUSY, now=120.0) == ""


def test_a_model_that_was_just_loaded_has_its_turn_first() -> None:
    """No ping-pong: who was waited for, too, is not thrown out the moment it is loaded."""
    fresh = replace(BUSY, loaded_since_s=118.0)
    assert why(fresh, now=120.0) == "in use for up to 18 s more"
    assert why(fresh, now=138.0) == ""


def test_a_load_under_way_is_not_broken_off_and_what_leaves_is_not_told_twice() -> None:
    assert why(replace(IDLE, loaded=False)) == "loading"
    assert why(replace(IDLE, leaving=True)) == "on its way out"
    assert standing(replace(IDLE, leaving=True, loaded=False), ASKED) == "", "its room comes"


def test_what_somebody_else_loaded_is_left_alone() -> None:
    assert why(replace(IDLE, ours=False)) == "not loaded by this cortex"


def test_the_lowest_class_goes_first_then_the_longest_idle_then_the_cheapest_to_reload() -> None:
    low = replace(IDLE, rules=ModelRules(priority=Priority.LOW), idle_s=10.0)
    longest = replace(IDLE, idle_s=900.0)
    cheap, dear = replace(IDLE, load_s=2.0), replace(IDLE, load_s=200.0)
    assert sorted([dear, cheap, longest, low], key=retention_key) == [low, longest, cheap, dear]


@given(
    mine=st.sampled_from(Priority), theirs=st.sampled_from(Priority),
    idle_s=st.floats(0, 1e5), waited_s=st.floats(0, 1e5), pinned=st.booleans(),
    guaranteed=st.booleans(), surplus=st.booleans(),
)  # fmt: skip
def test_nothing_pinned_or_higher_is_ever_displaced(
    mine: Priority, theirs: Priority, idle_s: float, waited_s: float, pinned: bool,
    guaranteed: bool, surplus: bool,
) -> None:  # fmt: skip
    rules = ModelRules(priority=theirs, pinned=pinned, guaranteed=guaranteed)
    held = replace(IDLE, rules=rules, idle_s=idle_s, surplus=surplus)
    newcomer = Newcomer(X, mine, waiting_since_s=1e6 - waited_s, short=False)
    if refusal(held, newcomer, POLICY, 1e6) == "":
        assert not pinned
        assert mine >= theirs
        assert surplus or not guaranteed or mine > theirs
