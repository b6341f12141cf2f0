"""At which hours a model is regularly wanted, learned from the days before. Pure.

    Forecaster.turn(local_s, now)            what time it is on the wall; an hour may end with it
    Forecaster.note(model, level)            somebody asks in this hour
    Forecaster.expected(model, lead_s, now)  what is expected now, or `lead_s` from now

A profile has the 24 hours of weekdays (Monday to Friday) and the 24 of weekends. For each hour it
keeps, of the last DAYS_MAX days on which that hour was lived through, how many requests at a time
were asked for (0: none). What is expected is what was reached on REGULAR_SHARE of these days, once
there are DAYS_MIN of them. So one number tells whether and how much; a few days are enough; a spike
on one day changes nothing; a habit that ended is forgotten in three days or so; and how sure it is
can be said: "4 of the last 5 days".

An expectation that nobody came for counts against that hour from then on, and ends at once: the
hours that follow it directly are not expected that day until somebody asks.

Hours are those of the clock on the wall, since people's habits follow it, over the changes of
summer time, too. A clock that jumps does no harm: an hour counts only if half of it was lived
through by the monotonic clock.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from helexa.protocol.ids import ModelId

HOUR_S: Final = 3600
DAY_HOURS: Final = 24
DAYS_MAX: Final = 7
DAYS_MIN: Final = 3
"""Fewer days are no habit."""
REGULAR_SHARE: Final = 0.6
"""2 of 3 days, 3 of 4 or 5, 4 of 6, 5 of 7."""
LIVED_S_MIN: Final = HOUR_S / 2
STEP_S_MAX: Final = 60.0
"""Time between two turns that counts as lived through; a process that was held up saw nothing."""
LEVEL_MAX: Final = 1_000_000
LEAD_MARGIN_S: Final = 60.0
LEAD_LOADS: Final = 1.25
"""A load is begun this many times its usual length before it is needed, and the margin."""
LEAD_S_MAX: Final = HOUR_S / 2
WEEKDAYS, WEEKENDS = "weekdays", "weekends"
KINDS: Final = (WEEKDAYS, WEEKENDS)

Levels = tuple[int, ...]
"""Requests at a time, of one hour on each of the last days of its kind, oldest first."""
Profile = tuple[Levels, ...]
"""The hours of weekdays, then those of weekends; 48 in all."""
HOURS: Final = DAY_HOURS * len(KINDS)
NEVER: Final[Profile] = ((),) * HOURS


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is regularly asked for in one hour of the day."""

    place: int
    """Of the hour in its profile."""
    level: int
    """Requests at a time."""
    days_asked: int
    days_seen: int

    def because(self) -> str:
        """Say when and how sure: `wanted on weekdays 09:00-10:00, 4 of the last 5 days`."""
        return _because(self, self)


def lead_s(load_s: float) -> float:
    """Return how long before its hour a model must be asked for, by what its load takes."""
    return min(load_s * LEAD_LOADS + LEAD_MARGIN_S, LEAD_S_MAX)


def place_of(hour: int) -> int:
    """Return the place in a profile of an hour, counted from 1970-01-01 00:00 on the wall."""
    day, hour_of_day = divmod(hour, DAY_HOURS)
    weekday = (day + 3) % 7  # 1970-01-01 was a Thursday; 0 is Monday
    return hour_of_day + (DAY_HOURS if weekday >= 5 else 0)


def expectation(profile: Profile, place: int) -> Expectation | None:
    """Return what is expected of an hour; None where that is nothing, or not known yet."""
    levels = profile[place]
    seen = len(levels)
    if seen < DAYS_MIN:
        return None
    level = sorted(levels, reverse=True)[math.ceil(seen * REGULAR_SHARE) - 1]
    if level == 0:
        return None
    return Expectation(place, level, seen - levels.count(0), seen)


def hours_told(profile: Profile) -> Iterator[str]:
    """Say all that is expected, hours that follow each other and are equally sure as one."""
    found = [e for e in (expectation(profile, place) for place in range(HOURS)) if e is not None]

    def run(numbered: tuple[int, Expectation]) -> tuple[int, int, int, bool]:
        number, each = numbered
        return each.place - number, each.days_asked, each.days_seen, each.place >= DAY_HOURS

    for _, group in groupby(enumerate(found), run):
        hours = [each for _, each in group]
        yield _because(hours[0], hours[-1])


def _because(first: Expectation, last: Expectation) -> str:
    kind, from_hour = divmod(first.place, DAY_HOURS)
    until_hour = last.place % DAY_HOURS + 1
    return (
        f"wanted on {KINDS[kind]} {from_hour:02}:00-{until_hour:02}:00, "
        f"{first.days_asked} of the last {first.days_seen} days"
    )


def with_day(profile: Profile, place: int, level: int) -> Profile:
    """Return the profile after one more day's hour; the oldest day goes."""
    levels = (*profile[place], min(max(level, 0), LEVEL_MAX))[-DAYS_MAX:]
    return (*profile[:place], levels, *profile[place + 1 :])


def sound_profile(told: Collection[Collection[int]]) -> Profile:
    """Return a profile as it was kept, within its bounds; one that is none is empty."""
    if len(told) != HOURS:
        return NEVER
    return tuple(
        tuple(min(max(each, 0), LEVEL_MAX) for each in levels)[-DAYS_MAX:] for levels in told
    )


class Forecaster:
    """The profiles of all models, what was asked in this hour, and what is expected now."""

    def __init__(self) -> None:
        self.profiles: Mapping[ModelId, Profile] = {}
        """Of models that were ever asked for. Replaced, never changed."""
        self.asked: dict[ModelId, int] = {}
        """The highest level of this hour, of models that were asked for in it."""
        self.hour: int | None = None
        """The hour of now, counted from 1970-01-01 00:00 on the wall; None: no date is known."""
        self.lived_s = 0.0
        """Of this hour."""
        self._at_s = 0.0
        self._ends_s: float | None = None
        """When this hour ends, in monotonic seconds; None before the first `turn`."""
        self._expected: dict[ModelId, tuple[Expectation | None, Expectation | None]] = {}
        """In this hour and in the next, of models of which anything is."""
        self._missed: set[ModelId] = set()
        """Nobody came in the hour before this one, and so it is not believed."""

    def restore(
        self,
        profiles: Mapping[ModelId, Profile],
        asked: Mapping[ModelId, int],
        hour: int | None,
        lived_s: float,
    ) -> None:
        """Go on from what was kept; the hour that had begun then ends with the next `turn`, or
        goes on."""
        self.profiles, self.asked = dict(profiles), dict(asked)
        self.hour, self.lived_s = hour, min(max(lived_s, 0.0), float(HOUR_S))

    def turn(self, local_s: float, now: float) -> None:
        """Take the time on the wall (seconds since 1970-01-01 00:00 there) at monotonic `now`."""
        hour = math.floor(local_s / HOUR_S)
        if hour != self.hour or self._ends_s is None:
            self._begin(hour)
        else:
            self.lived_s = min(self.lived_s + min(now - self._at_s, STEP_S_MAX), float(HOUR_S))
        self._at_s = now
        self._ends_s = now + (hour + 1) * HOUR_S - local_s

    def _begin(self, hour: int) -> None:
        if hour != self.hour:
            missed: set[ModelId] = set()
            if self.hour is not None and self.lived_s >= LIVED_S_MIN:
                if hour == self.hour + 1:
                    this_hour = ((key, this) for key, (this, _) in self._expected.items())
                    missed = {key for key, this in this_hour if this and key not in self.asked}
                self._close(place_of(self.hour))
            self.hour, self.lived_s, self.asked, self._missed = hour, 0.0, {}, missed
        self._expect()

    def _close(self, place: int) -> None:
        """Write down the hour that ends."""
        asked = self.asked
        after = {
            key: with_day(self.profiles.get(key, NEVER), place, asked.get(key, 0))
            for key in [*self.profiles, *(key for key in asked if key not in self.profiles)]
        }
        self.profiles = {key: each for key, each in after.items() if any(map(any, each))}

    def _expect(self) -> None:
        hour = self.hour
        assert hour is not None
        this, following = place_of(hour), place_of(hour + 1)
        both = (
            (key, expectation(profile, this), expectation(profile, following))
            for key, profile in self.profiles.items()
        )
        self._expected = {key: (one, two) for key, one, two in both if one or two}

    def note(self, model_id: ModelId, level: int) -> None:
        """Note that a model is asked for now, so many requests at a time."""
        self.asked[model_id] = max(level, 1, self.asked.get(model_id, 0))

    def watches(self, model_id: ModelId) -> bool:
        """Tell whether anything is expected of a model in this hour or the next."""
        return model_id in self._expected

    def expected(self, model_id: ModelId, lead_s: float, now: float) -> Expectation | None:
        """Return what is expected of a model now or within `lead_s`, whichever is more."""
        both = self._expected.get(model_id)
        if both is None or self._ends_s is None:
            return None
        this, following = both
        asked = model_id in self.asked
        if this is not None and not asked:
            # It is waited for still; and where nobody came, what follows is not believed either.
            return None if model_id in self._missed else this
        if following is not None and self._ends_s - now <= lead_s:
            return following if this is None or following.level > this.level else this
        return this

    def forget(self, kept: Collection[ModelId]) -> None:
        """Keep only the profiles of these models."""
        if not self.profiles.keys() <= set(kept):
            self.profiles = {k: each for k, each in self.profiles.items() if k in kept}
            self._expected = {k: each for k, each in self._expected.items() if k in kept}
