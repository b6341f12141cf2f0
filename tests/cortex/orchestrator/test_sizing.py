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
    warm: int = 0,
) -> Load:
    return Load(
        expected=expected, wanted=wanted, idle_s=idle_s, seats=seats, loaded=loaded, warm=warm,
        warm_because="wanted on weekdays 09:00-10:00, 4 of the last 5 days" if warm else "",
    )  # fmt: skip


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


def test_what_is_regularly_needed_is_there_before_it_is_asked_for() -> None:
    scale = resize(Scale(0), load(loaded=0, idle_s=9000.0, warm=1), TO_ZERO, POLICY, 100.0)
    assert (scale.replicas, scale.ahead, scale.ahead_since_s) == (1, 1, 100.0)
    assert scale.because == (
        "warm by forecast: wanted on weekdays 09:00-10:00, 4 of the last 5 days"
    )
    waiting = held(scale, load(idle_s=9000.0, warm=1), TO_ZERO, 101.0, 3000)
    assert (waiting.replicas, waiting.ahead) == (1, 1), "however long it is idle"
    assert resize(Scale(1), load(warm=9), UP_TO_4, POLICY, 0.0).replicas == 4, "within the maximum"


def test_what_nobody_came_for_leaves_when_its_hour_is_over() -> None:
    for_ever = ModelRules(min_replicas=0, max_replicas=4, keep_alive_s=None)
    for rules in (TO_ZERO, for_ever):
        scale = resize(Scale(0), load(loaded=0, idle_s=9000.0, warm=2), rules, POLICY, 100.0)
        assert scale.replicas == 2
        scale = resize(scale, load(idle_s=12600.0, loaded=2), rules, POLICY, 3700.0)
        assert (scale.replicas, scale.ahead_since_s) == (0, None)
        assert "nobody came" in scale.because
        assert held(scale, load(idle_s=13000.0), rules, 3701.0, 600).replicas == 0, "and stays away"


def test_what_somebody_came_for_follows_the_ordinary_rules_from_then_on() -> None:
    scale = resize(Scale(0), load(loaded=0, idle_s=9000.0, warm=1), TO_ZERO, POLICY, 0.0)
    scale = resize(scale, load(0.2, idle_s=0.0, warm=1), TO_ZERO, POLICY, 50.0)
    assert (scale.replicas, scale.ahead, scale.ahead_since_s) == (1, 0, None)
    scale = held(scale, load(idle_s=599.0), TO_ZERO, 3600.0, 0)
    assert scale.replicas == 1, "it has its keep_alive_s"
    assert resize(scale, load(idle_s=600.0), TO_ZERO, POLICY, 3700.0).replicas == 0


def test_replicas_for_a_rush_to_come_leave_after_its_hour_one_after_another() -> None:
    scale = resize(Scale(1), load(0.5, warm=3), UP_TO_4, POLICY, 0.0)
    assert (scale.replicas, scale.ahead) == (3, 2)
    scale = held(scale, load(0.5, loaded=3, warm=3), UP_TO_4, 1.0, 3000)
    assert scale.replicas == 3
    busy = resize(scale, load(6.0, loaded=3, warm=3), UP_TO_4, POLICY, 3001.0)
    assert busy.ahead == 1, "two are needed now"
    scale = held(scale, load(0.5, loaded=3), UP_TO_4, 3600.0, 299)
    assert (scale.replicas, scale.ahead) == (3, 0)
    assert held(scale, load(0.5, loaded=3), UP_TO_4, 3900.0, 5000).replicas == 1


def test_an_expected_model_that_fits_nowhere_is_not_given_up_and_wanted_in_turns() -> None:
    scale = Scale(0)
    counts = set()
    for second in range(1000):
        lost = load(loaded=0, idle_s=9000.0 + second, warm=1)
        scale = resize(scale, lost, TO_ZERO, POLICY, float(second))
        counts.add(scale.replicas)
    assert counts == {1}


LOADS = st.builds(
    Load,
    expected=st.floats(0, 200),
    wanted=st.booleans(),
    idle_s=st.floats(0, 2000),
    seats=st.integers(0, 16),
    loaded=st.integers(0, 12),
    warm=st.sampled_from([0, 0, 0, 1, 3, 40]),
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
        assert 0 <= scale.ahead <= scale.replicas - floor


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
