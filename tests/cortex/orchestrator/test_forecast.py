"""Hours at which a model is regularly wanted: days as scripts, and properties of the profile."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from helexa.cortex.orchestrator.forecast import (
    DAYS_MAX,
    DAYS_MIN,
    HOUR_S,
    HOURS,
    LEAD_S_MAX,
    LEVEL_MAX,
    NEVER,
    Forecaster,
    Profile,
    expectation,
    hours_told,
    lead_s,
    place_of,
    sound_profile,
    with_day,
)
from helexa.protocol.ids import ModelId

M = ModelId("m")
MONDAY_S = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
DAY_S = 86400.0
STEP_S = 20.0


class Days:
    """A forecaster that lives through days; `ask` says at which hours of which days who comes."""

    def __init__(self) -> None:
        self.forecaster = Forecaster()
        self.now = 500.0
        self.local_s = MONDAY_S

    def live(self, until_s: float, hours: dict[int, int] | None = None) -> None:
        """Let time pass until a moment; in the given hours of the day somebody asks."""
        while self.local_s < until_s:
            self.forecaster.turn(self.local_s, self.now)
            level = (hours or {}).get(int(self.local_s % DAY_S // HOUR_S), 0)
            if level:
                self.forecaster.note(M, level)
            self.local_s += STEP_S
            self.now += STEP_S

    def day(self, hours: dict[int, int] | None = None) -> None:
        midnight_s = (self.local_s // DAY_S + 1) * DAY_S
        self.live(midnight_s, hours)

    def expected(self, lead: float = 0.0) -> int:
        self.forecaster.turn(self.local_s, self.now)
        found = self.forecaster.expected(M, lead, self.now)
        return found.level if found is not None else 0


def test_what_was_asked_for_on_three_mornings_is_expected_on_the_fourth() -> None:
    days = Days()
    for day in range(3):
        days.live(MONDAY_S + day * DAY_S + 9 * HOUR_S)
        assert days.expected() == 0, "too few days"
        days.day({9: 2})
    morning_s = MONDAY_S + 3 * DAY_S + 9 * HOUR_S
    days.live(morning_s - 90.0)
    assert days.expected(lead=60.0) == 0
    assert days.expected(lead=90.0) == 2, "a load that takes 90 s is begun now"
    days.live(morning_s)
    assert days.expected() == 2
    found = days.forecaster.expected(M, 0.0, days.now)
    assert found is not None
    assert found.because() == "wanted on weekdays 09:00-10:00, 3 of the last 3 days"
    days.live(morning_s + HOUR_S)
    assert days.expected() == 0


def test_weekends_are_days_of_their_own() -> None:
    days = Days()
    for _ in range(5):
        days.day({9: 1})
    for _ in range(2):
        days.live(days.local_s + 9 * HOUR_S)
        assert days.expected() == 0
        days.day()
    days.live(days.local_s + 9 * HOUR_S)
    assert days.expected() == 1, "and Monday is a weekday"


def test_a_spike_on_one_day_changes_nothing() -> None:
    days = Days()
    for day in range(5):
        days.day({9: 40 if day == 2 else 2})
    days.live(days.local_s + 2 * DAY_S + 9 * HOUR_S)
    assert days.expected() == 2


def test_a_habit_that_ended_is_forgotten_in_three_days_and_its_profile_in_time() -> None:
    days = Days()
    for _ in range(14):
        days.day({9: 1})
    for day in range(4):
        days.live(MONDAY_S + (14 + day) * DAY_S + 9 * HOUR_S)
        assert days.expected() == (1 if day < 3 else 0), day
        days.day()
    while days.local_s < MONDAY_S + 45 * DAY_S:
        days.day()
    assert days.forecaster.profiles == {}


def test_where_nobody_came_the_hours_that_follow_are_not_expected_until_somebody_asks() -> None:
    days = Days()
    for _ in range(5):
        days.day({9: 1, 10: 1, 11: 1, 15: 1})
    monday_s = MONDAY_S + 7 * DAY_S
    days.live(monday_s + 10 * HOUR_S - STEP_S)
    assert days.expected(lead=60.0) == 1
    days.live(monday_s + 10 * HOUR_S)
    assert days.expected() == 0, "a holiday"
    days.live(monday_s + 11 * HOUR_S)
    assert days.expected(lead=HOUR_S) == 0, "and so on, for the whole run of hours"
    days.forecaster.note(M, 1)
    assert days.expected() == 1, "somebody came late"
    days.live(monday_s + 15 * HOUR_S)
    assert days.expected() == 1, "hours apart are judged apart"


def test_more_may_be_expected_of_the_next_hour_than_of_this_one() -> None:
    days = Days()
    for _ in range(5):
        days.day({9: 1, 10: 8, 11: 1})
    days.live(MONDAY_S + 7 * DAY_S + 10 * HOUR_S - STEP_S, {9: 1})
    assert (days.expected(), days.expected(lead=60.0)) == (1, 8)
    days.live(MONDAY_S + 7 * DAY_S + 11 * HOUR_S - STEP_S, {10: 1})
    assert days.expected(lead=60.0) == 8, "fewer only when their hour has come"


def test_an_hour_that_was_not_lived_through_says_nothing() -> None:
    """Machines that are off, processes that were held up, clocks that are set."""
    days = Days()
    for _ in range(5):
        days.day({9: 1})
    before = days.forecaster.profiles[M]
    for _ in range(30):  # cortex runs for twenty minutes each morning
        days.local_s += DAY_S
        days.live((days.local_s // DAY_S) * DAY_S + 9 * HOUR_S + 1200.0)
        days.forecaster.restore(days.forecaster.profiles, {}, None, 0.0)
    assert days.forecaster.profiles[M][9] == before[9]


def test_a_clock_that_jumps_to_and_fro_teaches_nothing() -> None:
    days = Days()
    for second in range(4000):
        jump_s = (second % 7) * HOUR_S * 5
        days.forecaster.turn(MONDAY_S + jump_s + second, 500.0 + second)
        days.forecaster.note(M, 9)
    assert days.forecaster.profiles == {}


def test_an_hour_goes_on_after_a_restart() -> None:
    days = Days()
    days.live(MONDAY_S + 9 * HOUR_S + 1500.0, {9: 3})
    kept = days.forecaster
    days.forecaster = Forecaster()
    days.forecaster.restore(kept.profiles, kept.asked, kept.hour, kept.lived_s)
    days.now, days.local_s = 3.0, days.local_s + 200.0
    days.live(MONDAY_S + 10 * HOUR_S + STEP_S)
    assert days.forecaster.profiles[M][9] == (3,)


def test_before_a_date_is_known_nothing_is_expected() -> None:
    assert Forecaster().expected(M, 1e9, 1e9) is None


def test_a_model_that_is_forgotten_is_not_expected() -> None:
    days = Days()
    for _ in range(4):
        days.day({0: 1})
    assert days.expected() == 1
    days.forecaster.forget([ModelId("other")])
    assert days.expected() == 0
    assert days.forecaster.profiles == {}


def test_hours_that_are_equally_sure_are_told_as_one() -> None:
    profile = NEVER
    for _ in range(4):
        for place in (9, 10, 23, 24, 25):
            profile = with_day(profile, place, 1)
    profile = with_day(with_day(profile, 10, 1), 11, 1)
    assert list(hours_told(profile)) == [
        "wanted on weekdays 09:00-10:00, 4 of the last 4 days",
        "wanted on weekdays 10:00-11:00, 5 of the last 5 days",
        "wanted on weekdays 23:00-24:00, 4 of the last 4 days",
        "wanted on weekends 00:00-02:00, 4 of the last 4 days",
    ]


def test_a_long_load_is_begun_long_before_but_not_without_end() -> None:
    assert lead_s(0.0) == 60.0
    assert lead_s(80.0) == 160.0
    assert lead_s(1e9) == LEAD_S_MAX


HOUR_NUMBERS = st.integers(0, 4_000_000)


@given(hour=HOUR_NUMBERS)
def test_an_hours_place_is_that_of_the_calendar(hour: int) -> None:
    when = datetime.fromtimestamp(hour % 400_000 * HOUR_S, tz=UTC)
    assert place_of(hour % 400_000) == when.hour + (24 if when.weekday() >= 5 else 0)
    assert 0 <= place_of(hour) < HOURS


LEVELS = st.lists(st.integers(0, 50), max_size=20)


def profile_of(levels: list[int]) -> Profile:
    profile = NEVER
    for level in levels:
        profile = with_day(profile, 9, level)
    return profile


@given(levels=LEVELS)
def test_what_is_expected_was_reached_on_most_of_the_last_days(levels: list[int]) -> None:
    last = levels[-DAYS_MAX:]
    found = expectation(profile_of(levels), 9)
    if len(last) < DAYS_MIN or sum(map(bool, last)) < 0.6 * len(last):
        assert found is None
        return
    assert found is not None
    assert (found.days_asked, found.days_seen) == (sum(map(bool, last)), len(last))
    assert sum(each >= found.level for each in last) >= 0.6 * len(last)
    assert found.level in last


@given(levels=LEVELS, place=st.integers(0, 19), spike=st.integers(51, 2 * LEVEL_MAX))
def test_one_days_spike_raises_nothing_above_what_other_days_reached(
    levels: list[int], place: int, spike: int
) -> None:
    spiked = list(levels)
    spiked[place % max(len(spiked), 1) : place % max(len(spiked), 1) + 1] = [spike]
    found = expectation(profile_of(spiked), 9)
    assert found is None or found.level <= max(levels, default=0)


@given(levels=LEVELS, more=st.integers(0, 19))
def test_more_on_a_day_never_lowers_what_is_expected(levels: list[int], more: int) -> None:
    raised = [level + (place == more) for place, level in enumerate(levels)]
    before, after = expectation(profile_of(levels), 9), expectation(profile_of(raised), 9)
    assert (after.level if after else 0) >= (before.level if before else 0)


@given(
    told=st.one_of(
        st.lists(st.lists(st.integers(-(2**63), 2**63), max_size=12), max_size=60),
        st.lists(st.lists(st.integers(-3, 3), max_size=12), min_size=HOURS, max_size=HOURS),
    )
)
def test_whatever_a_file_says_a_profile_keeps_its_bounds(told: list[list[int]]) -> None:
    profile = sound_profile(told)
    assert len(profile) == HOURS
    assert all(len(levels) <= DAYS_MAX for levels in profile)
    assert all(0 <= level <= LEVEL_MAX for levels in profile for level in levels)
    assert sound_profile(profile) == profile
    list(hours_told(profile))


STEPS = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 300), st.floats(-1e6, 1e6), st.floats(-1e11, 1e11)),
        st.floats(0, 120),
        st.integers(0, 3),
        st.booleans(),
    ),
    max_size=80,
)


@given(steps=STEPS)
def test_no_clock_and_no_demand_break_its_bounds(
    steps: list[tuple[float, float, int, bool]],
) -> None:
    """The clock on the wall may do anything: it goes on, stands, is set to another century."""
    made, now, local_s = Forecaster(), 0.0, MONDAY_S
    for jump_s, span_s, model, restart in steps:
        now += span_s
        local_s += jump_s
        made.turn(local_s, now)
        made.note(ModelId(f"m{model}"), model * 7)
        if restart:
            kept, made = made, Forecaster()
            made.restore(kept.profiles, kept.asked, kept.hour, kept.lived_s)
        made.expected(ModelId("m1"), 60.0, now)
        assert 0.0 <= made.lived_s <= HOUR_S
        for profile in made.profiles.values():
            assert profile == sound_profile(profile)


@given(
    habit=st.sets(st.integers(0, 23), min_size=1),
    asked=st.sets(st.integers(0, 23)),
)
def test_without_anybody_a_run_of_hours_is_waited_for_one_hour_and_no_longer(
    habit: set[int], asked: set[int]
) -> None:
    """A warmed model whose demand does not come leaves after a bounded time."""
    made = Forecaster()
    profile = NEVER
    for place in habit:
        for _ in range(5):
            profile = with_day(profile, place, 1)
    made.restore({M: profile}, {}, None, 0.0)
    in_vain_s, now = 0.0, 0.0
    for second in range(0, int(DAY_S), 30):
        hour = second // HOUR_S
        made.turn(MONDAY_S + second, now)
        now += 30.0
        if hour in asked and second % HOUR_S < 60:
            made.note(M, 1)
            in_vain_s = 0.0
        if made.expected(M, 60.0, now) is None:
            in_vain_s = 0.0
        else:
            in_vain_s += 30.0
        assert in_vain_s <= 2 * HOUR_S + 90.0
