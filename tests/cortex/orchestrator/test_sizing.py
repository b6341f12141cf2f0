"""How many replicas: each rule by itself, and properties: within bounds, and never flapping."""

from hypothesis import given, settings
from hypothesis import strategies as st

from helexa.cortex.orchestrator.rules import ModelRules, ProvisioningPolicy
from helexa.cortex.orchestrator.sizing import DEMAND_S, Load, Scale, first_scale, resize

POLICY = ProvisioningPolicy(scale_up_after_s=10.0, cooldown_s=300.0, target_utilisation=0.8)
UP_TO_4 = ModelRules(min_replicas=1, max_replicas=4)
TO_ZERO = ModelRules(min_replicas=0, max_replicas=4, keep_alive_s=600.0)


def load(
    expected: float = 0.0,
    *,
    loaded: int = 1,
    wanted: bool = False,
    idle_s: float = 0.0,
    seats: int = 4,
) -> Load:
    return Load(expected=expected, wanted=wanted, idle_s=idle_s, seats=seats, loaded=loaded)


def held(scale: Scale, what: Load, rules: ModelRules, start_s: float, span_s: float) -> Scale:
    """Return the scale after a load that stays the same for `span_s` seconds."""
    for second in range(int(span_s) + 1):
        scale = resize(scale, what, rules, POLICY, start_s + second)
    return scale


def test_from_zero_it_goes_up_at_once_and_only_when_asked() -> None:
    assert resize(Scale(0), load(loaded=0), TO_ZERO, POLICY, 0.0).replicas == 0
    assert resize(Scale(0), load(loaded=0, wanted=True), TO_ZERO, POLICY, 0.0).replicas == 1


def test_more_than_the_replicas_bear_must_last_before_one_is_added() -> None:
    """R6.13, R6.15: 3.2 requests at a time are planned for a replica of 4 seats."""
    assert held(Scale(1), load(3.3), UP_TO_4, 0.0, 9).replicas == 1
    assert held(Scale(1), load(3.3), UP_TO_4, 0.0, 10).replicas == 2
    assert held(Scale(1), load(3.2), UP_TO_4, 0.0, 1000).replicas == 1
    interrupted = held(Scale(1), load(3.3), UP_TO_4, 0.0, 9)
    interrupted = resize(interrupted, load(3.0), UP_TO_4, POLICY, 10.0)
    assert held(interrupted, load(3.3), UP_TO_4, 11.0, 9).replicas == 1, "from the beginning"


def test_a_rush_adds_as_many_as_are_needed_within_the_maximum() -> None:
    assert held(Scale(1), load(9.0), UP_TO_4, 0.0, 10).replicas == 3
    assert held(Scale(1), load(90.0), UP_TO_4, 0.0, 10).replicas == 4


def test_no_further_replica_is_asked_for_while_one_is_on_its_way() -> None:
    assert held(Scale(2), load(90.0, loaded=1), UP_TO_4, 0.0, 60).replicas == 2


def test_one_goes_when_one_fewer_would_have_been_enough_for_the_whole_cooldown() -> None:
    """R2.32."""
    quiet = load(0.5, loaded=3)
    assert held(Scale(3), quiet, UP_TO_4, 0.0, 299).replicas == 3
    assert held(Scale(3), quiet, UP_TO_4, 0.0, 300).replicas == 2
    assert held(Scale(3), quiet, UP_TO_4, 0.0, 599).replicas == 2
    assert held(Scale(3), quiet, UP_TO_4, 0.0, 5000).replicas == 1, "the last one stays"


def test_a_load_between_too_much_and_too_little_moves_nothing() -> None:
    between = load(2.7, loaded=2)  # 2.56 with the margin is what one replica would bear
    assert held(Scale(2), between, UP_TO_4, 0.0, 3000).replicas == 2


def test_the_last_replica_leaves_only_for_being_idle() -> None:
    """R2.32, R6.14."""
    assert held(Scale(1), load(0.0, idle_s=599.0), TO_ZERO, 0.0, 5).replicas == 1
    assert resize(Scale(1), load(0.0, idle_s=600.0), TO_ZERO, POLICY, 0.0).replicas == 0
    assert resize(Scale(3), load(idle_s=1e6, loaded=3), UP_TO_4, POLICY, 0.0).replicas == 3
    for_ever = ModelRules(min_replicas=0, keep_alive_s=None)
    assert resize(Scale(1), load(idle_s=1e6), for_ever, POLICY, 0.0).replicas == 1


def test_what_never_came_up_is_given_up() -> None:
    gone = load(loaded=0, idle_s=DEMAND_S)
    assert resize(Scale(1), gone, TO_ZERO, POLICY, 0.0).replicas == 0


def test_seats_that_are_not_known_yet_decide_nothing() -> None:
    assert held(Scale(1), load(50.0, seats=0), UP_TO_4, 0.0, 600).replicas == 1


def test_a_new_spec_counts_at_once() -> None:
    assert resize(Scale(1), load(), ModelRules(min_replicas=3, max_replicas=3), POLICY, 0.0) == (
        Scale(3, because="min_replicas 3, max_replicas 3")
    )
    assert resize(Scale(4), load(), ModelRules(), POLICY, 0.0).replicas == 1


def test_what_is_found_is_kept_within_the_rules() -> None:
    assert first_scale(2, UP_TO_4).replicas == 2
    assert first_scale(9, UP_TO_4).replicas == 4
    assert first_scale(0, UP_TO_4).replicas == 1


LOADS = st.builds(
    Load,
    expected=st.floats(0, 200),
    wanted=st.booleans(),
    idle_s=st.floats(0, 2000),
    seats=st.integers(0, 16),
    loaded=st.integers(0, 12),
)


@given(
    first=st.integers(0, 12),
    floor=st.integers(0, 4),
    extra=st.one_of(st.none(), st.integers(0, 6)),
    loads=st.lists(LOADS, min_size=1, max_size=60),
    step_s=st.floats(0.1, 400),
)
def test_it_never_lies_outside_min_and_max(
    first: int, floor: int, extra: int | None, loads: list[Load], step_s: float
) -> None:
    """R6.5."""
    most = None if extra is None else max(floor + extra, 1)
    rules = ModelRules(min_replicas=floor, max_replicas=most, keep_alive_s=100.0)
    scale = Scale(first)
    for number, each in enumerate(loads):
        scale = resize(scale, each, rules, POLICY, number * step_s)
        assert floor <= scale.replicas
        assert most is None or scale.replicas <= most


@settings(max_examples=60, deadline=None)
@given(
    expected=st.floats(0, 60),
    seats=st.integers(1, 8),
    first=st.integers(1, 12),
    jitter=st.lists(st.floats(-0.1, 0.1), min_size=1, max_size=20),
)
def test_a_steady_load_never_makes_it_flap(
    expected: float, seats: int, first: int, jitter: list[float]
) -> None:
    """With a load that varies by a tenth it goes one way, and then rests."""
    rules = ModelRules(min_replicas=1, max_replicas=20)
    scale, turns, last = Scale(first), 0, 0
    seen = [first]
    for second in range(0, 8000, 5):
        now_s = float(second)
        wave = expected * (1 + jitter[(second // 5) % len(jitter)])
        scale = resize(scale, load(wave, loaded=scale.replicas, seats=seats), rules, POLICY, now_s)
        if scale.replicas != seen[-1]:
            way = 1 if scale.replicas > seen[-1] else -1
            turns += way != last and last != 0
            last = way
            seen.append(scale.replicas)
    assert turns <= 1, seen
