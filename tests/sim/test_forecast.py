"""Warm by forecast, in whole fleets: who gets the room, who gives it up; and whole days."""

import pytest

from helexa.cortex.orchestrator.demand import DemandSample
from helexa.cortex.orchestrator.events import (
    DemandRestored,
    DemandSampled,
    ModelUnwanted,
    ModelWanted,
)
from helexa.cortex.orchestrator.forecast import HOUR_S, NEVER, Profile, with_day
from helexa.cortex.orchestrator.remembered import DemandMemory, RememberedModel
from helexa.cortex.orchestrator.retention import FORECAST_IDLE_S
from helexa.cortex.orchestrator.rules import ModelRules, Priority
from helexa.protocol.ids import ModelId
from helexa.protocol.model import ModelConfig
from tests.fakes.fleet import GIB, model
from tests.fakes.fleet_world import FleetWorld
from tests.fakes.neuron_model import ModelNeuron
from tests.sim.faults import plan_of
from tests.sim.world import Shape, SimWorld, run

A, B = ModelId("a"), ModelId("b")
ON_DEMAND = ModelRules(min_replicas=0, keep_alive_s=300.0)
AHEAD = ModelRules()
"""Loaded ahead by the config, and not guaranteed."""
MONDAY_S = 4 * 86400.0
NINE_S = MONDAY_S + 9 * HOUR_S


def mornings(level: int = 1, *hours: int) -> Profile:
    """Return the profile of a model that was asked for on five mornings at nine (or `hours`)."""
    profile = NEVER
    for hour in hours or (9,):
        for _ in range(5):
            profile = with_day(profile, hour, level)
    return profile


class Morning:
    """One neuron of 2 GiB, models that need all of it, and the clock on the wall at 8:50."""

    def __init__(self, profiles: dict[str, Profile], **rules: ModelRules) -> None:
        self.world = FleetWorld(3, latency_s=0.01)
        self.local_s = NINE_S - 600.0
        models = tuple(
            RememberedModel(model_id=ModelId(name), profile=profile, idle_s=9000.0)
            for name, profile in profiles.items()
        )
        self.world.happen(DemandRestored(DemandMemory(models=models)))
        self.world.want(*(model(name) for name in sorted(rules)), rules=rules)
        self.tell()
        self.world.add(ModelNeuron("n1", budget_bytes=2 * GIB, needs=lambda _model: 2 * GIB))

    def tell(self, *samples: DemandSample) -> None:
        self.world.happen(DemandSampled(samples, self.local_s))

    def until(self, local_s: float, *samples: DemandSample) -> None:
        while self.local_s < local_s:
            self.tell(*samples)
            self.local_s += 10.0
            self.world.run(10.0)

    def loaded(self) -> list[str]:
        return [name for name in ("a", "b") if self.world.replicas(name)]

    def loads(self) -> int:
        return sum(len(n.loads_started) for n in self.world.neurons.values())


def test_a_model_of_every_morning_is_there_before_the_first_request() -> None:
    """R6.14: loaded a minute ahead, and gone after an hour in which nobody came."""
    morning = Morning({"a": mornings()}, a=ON_DEMAND)
    morning.until(NINE_S - 100.0)
    assert morning.loaded() == []
    morning.until(NINE_S - 20.0)
    assert morning.loaded() == ["a"]
    assert morning.world.snapshot.desired[A].because == (
        "warm by forecast: wanted on weekdays 09:00-10:00, 5 of the last 5 days"
    )
    morning.until(NINE_S + HOUR_S)
    assert morning.loaded() == ["a"]
    morning.until(NINE_S + HOUR_S + 60.0)
    assert morning.loaded() == []
    morning.until(NINE_S + 2 * HOUR_S)
    assert morning.loads() == 1


def test_no_forecast_where_the_operator_wants_none() -> None:
    """R6.17."""
    off = ModelRules(min_replicas=0, keep_alive_s=300.0, forecast=False)
    morning = Morning({"a": mornings()}, a=off)
    morning.until(NINE_S + HOUR_S)
    assert morning.loads() == 0


def test_what_is_loaded_ahead_makes_room_at_once_and_does_not_come_back_at_once() -> None:
    high = ModelRules(min_replicas=0, keep_alive_s=300.0, priority=Priority.HIGH)
    morning = Morning({"a": mornings()}, a=high, b=ON_DEMAND)
    morning.until(NINE_S)
    assert morning.loaded() == ["a"]
    morning.world.happen(ModelWanted(B, "request"))
    morning.until(NINE_S + 10.0)
    assert morning.loaded() == ["b"], "whatever the classes"
    morning.until(NINE_S + 200.0, DemandSample(B, arrivals=1, finished=1, service_s=1.0))
    assert morning.loads() == 2
    morning.until(NINE_S + HOUR_S)
    assert morning.loaded() == ["a"], "the room is free again when b has been idle for long"
    assert morning.loads() == 3


def test_what_is_forecast_takes_the_place_of_what_is_idle_for_long_and_is_not_wanted_now() -> None:
    """Two models that do not fit together, both loaded ahead: a by night, b by day."""
    morning = Morning({"b": mornings()}, a=AHEAD, b=AHEAD)
    morning.local_s = NINE_S - HOUR_S
    morning.until(NINE_S - 120.0)
    assert morning.loaded() == ["a"]
    morning.until(NINE_S)
    assert morning.loaded() == ["b"]
    morning.until(NINE_S + 2 * HOUR_S)
    assert morning.loads() == 2, "and a comes back when it is asked for"
    morning.world.happen(ModelWanted(A, "request"))
    morning.until(NINE_S + 2 * HOUR_S + 60.0)
    assert morning.loaded() == ["a"]


def test_what_is_in_use_pinned_or_guaranteed_stays() -> None:
    for rules in (ModelRules(pinned=True), ModelRules(min_replicas=1, guaranteed=True)):
        morning = Morning({"b": mornings()}, a=rules, b=ON_DEMAND)
        morning.until(NINE_S + HOUR_S)
        assert (morning.loaded(), morning.loads()) == (["a"], 1)
    morning = Morning({"b": mornings()}, a=AHEAD, b=ON_DEMAND)
    sample = DemandSample(A, arrivals=1, finished=1, service_s=1.0)
    while morning.local_s < NINE_S + HOUR_S:
        morning.until(morning.local_s + FORECAST_IDLE_S - 60.0)
        morning.tell(sample)
    assert (morning.loaded(), morning.loads()) == (["a"], 1)


def test_two_that_are_wanted_at_one_hour_do_not_take_turns() -> None:
    morning = Morning({"a": mornings(), "b": mornings()}, a=ON_DEMAND, b=ON_DEMAND)
    morning.until(NINE_S + HOUR_S)
    assert (len(morning.loaded()), morning.loads()) == (1, 1)


def test_an_operators_unload_counts_more_than_a_forecast() -> None:
    """R6.17."""
    morning = Morning({"a": mornings()}, a=ON_DEMAND)
    morning.world.happen(ModelUnwanted(A, "operator"))
    morning.until(NINE_S + HOUR_S)
    assert morning.loads() == 0


def test_a_cortex_that_restarts_in_a_forecast_hour_unloads_nothing_and_still_lets_it_go() -> None:
    for_ever = ModelRules(min_replicas=0, keep_alive_s=None)
    morning = Morning({"a": mornings()}, a=for_ever)
    morning.until(NINE_S + 600.0)
    assert morning.loaded() == ["a"]
    kept = morning.world.fleet.memory(morning.world.now, 0.0)
    morning.world.restart_cortex()
    morning.world.happen(DemandRestored(kept, away_s=1.0))
    morning.tell()
    morning.until(NINE_S + HOUR_S)
    assert (morning.loaded(), morning.loads()) == (["a"], 1)
    morning.until(NINE_S + HOUR_S + 60.0)
    assert morning.loaded() == []


def test_replicas_for_a_rush_of_every_morning_are_there_before_it() -> None:
    rules = ModelRules(max_replicas=3)
    morning = Morning({"a": mornings(7)}, a=rules)
    for name in ("n2", "n3", "n4"):
        morning.world.add(ModelNeuron(name, budget_bytes=2 * GIB, needs=lambda _model: 2 * GIB))
    morning.until(NINE_S - 100.0)
    assert len(morning.world.replicas("a")) == 1
    morning.until(NINE_S)
    assert len(morning.world.replicas("a")) == 3, "7 at a time, 3.2 planned for a replica"
    morning.until(NINE_S + 2 * HOUR_S)
    assert len(morning.world.replicas("a")) == 1
    assert morning.loads() == 3


# ── days with a pattern, in the simulated world ───────────────────────────────────────────────

SILENCE = Shape(neurons=1, models=0, per_second=1e-12)
FOUND = (
    1311,  # news of a neuron were lost, and cortex believed for ever in the memory of before
    631,  # a request did not go back to a neuron that had lost only its connection
)
DAYS = 10
WEEKEND, HOLIDAY = (5, 6), 8
"""Day 0 is a Monday."""
REST = (*WEEKEND, HOLIDAY)


class Days:
    """One neuron, and two models that do not fit together: one for every morning from nine on, one
    for now and then. Of each day the time from 8:50 to 10:05 is lived through, and cortex is
    another process each day."""

    def __init__(self, *, forecast: bool) -> None:
        world = self.world = SimWorld(5, SILENCE)
        rules = ModelRules(min_replicas=0, keep_alive_s=120.0, forecast=forecast)
        memory_gib = world.neurons[0].budget_bytes / GIB * 0.6
        options = {"memory_gib": memory_gib, "seats": 2, "kind": "chat"}
        world.models = tuple(ModelConfig(id=m, engine="sim", options=options) for m in (A, B))
        world.chat_models = {A, B}
        world.rules = world.cortex.rules = dict.fromkeys((A, B), rules)
        world.cortex.want(world.models)
        self.cold: list[int] = []
        """Of each day, how often the morning's model was asked for and was not there."""
        self.starts: list[int] = []
        """Of each day, how often its engine was started."""
        self.there_until_s: list[float] = []
        """Of each day, in seconds after nine."""
        for day in range(DAYS):
            self._live(day)

    def _live(self, day: int) -> None:
        world, clock = self.world, self.world.clock
        nine_s = clock.now + 600.0
        world.date_s = MONDAY_S + day * 86400.0 + 9 * HOUR_S - nine_s
        before = world.watch.starts[A]
        self.cold.append(0)
        if day not in REST:
            for number in range(20):
                clock.at(nine_s + 20.0 + clock.random.random() * 40 + number * 100, self._ask)
        for minute in (-9 + day * 0.5, 61):
            clock.at(nine_s + 60.0 * minute, world.callers.ask, B)
        if day == 3:
            clock.at(nine_s + 1000.0, self._restart)
        there_until_s = 0.0
        while clock.now < nine_s + 3900.0:
            clock.run_until(clock.now + 5.0)
            world.watch.check_bounds()
            if world.cortex.up and world.cortex.snapshot.models[A].replicas:
                there_until_s = clock.now - nine_s
        self.starts.append(world.watch.starts[A] - before)
        self.there_until_s.append(there_until_s)
        self._restart()

    def _ask(self) -> None:
        cortex = self.world.cortex
        self.cold[-1] += not (cortex.up and cortex.snapshot.models[A].replicas)
        self.world.callers.ask(A)

    def _restart(self) -> None:
        self.world.cortex.die()
        self.world.clock.after(2.0, self.world.cortex.start)


@pytest.mark.parametrize("seed", [*range(40), *FOUND])
def test_what_must_hold_holds_while_models_are_expected_and_not_any_more(seed: int) -> None:
    """R2.35: an hour ends amid faults, and cortex may be another one by then."""
    run(plan_of(seed), habits=True)


def test_with_a_forecast_fewer_wait_for_a_load_and_nothing_flaps() -> None:
    """R6.14: two weeks of mornings, with a weekend, a holiday, and restarts."""
    without, ahead = Days(forecast=False), Days(forecast=True)
    at_work = [day for day in range(DAYS) if day not in REST]
    assert all(without.cold[day] for day in at_work)
    assert ahead.cold[:3] == without.cold[:3], "three days are needed to see a habit"
    assert not any(ahead.cold[3:])
    assert all(ahead.starts[day] == 1 for day in range(3, DAYS) if day not in WEEKEND)
    assert not any(ahead.starts[day] for day in WEEKEND)
    assert max(ahead.there_until_s) <= HOUR_S + 10.0, "not longer than its hour, the holiday, too"
    assert sum(ahead.starts) <= sum(without.starts)
