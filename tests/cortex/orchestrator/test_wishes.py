"""What should run, by config, by demand, by forecast and by what operators say."""

from dataclasses import replace

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from helexa.cortex.orchestrator.demand import DemandSample
from helexa.cortex.orchestrator.events import (
    DemandRestored,
    DemandSampled,
    DesiredChanged,
    ModelPinned,
    ModelUnwanted,
    ModelWanted,
    NeuronHeard,
    Tick,
)
from helexa.cortex.orchestrator.forecast import HOUR_S, NEVER, Profile, with_day
from helexa.cortex.orchestrator.policy import FleetPolicy
from helexa.cortex.orchestrator.remembered import DemandMemory, RememberedModel
from helexa.cortex.orchestrator.rules import ModelRules, ProvisioningPolicy
from helexa.cortex.orchestrator.sizing import DEMAND_S
from helexa.cortex.orchestrator.snapshot import ModelView, Replica
from helexa.cortex.orchestrator.useful_seats import OBSERVATIONS_MIN, Achieved
from helexa.cortex.orchestrator.wishes import AHEAD_S, Wishes
from helexa.protocol.ids import ModelId, NeuronId
from tests.fakes.fleet import CHAT, fleet, joined, model, register, status

M = ModelId("m")
UNLOADED = {"m": ModelView(config=model())}
LOADED = {"m": ModelView(config=model(), replicas=(Replica(M, NeuronId("n1"), 1, CHAT),))}
ON_DEMAND = ModelRules(min_replicas=0, keep_alive_s=600.0)


def wishes(rules: ModelRules | None = None) -> Wishes:
    made = Wishes(FleetPolicy())
    asked = {} if rules is None else {M: rules}
    made.take(DesiredChanged(models=(model(),), rules=asked, cause="config"), 0.0, {})
    return made


def replicas(made: Wishes, now: float, known: dict[str, ModelView] = UNLOADED) -> int:
    made.resize(known, now)
    return made.desired(known)[M].replicas


def test_configured_models_are_desired_at_once() -> None:
    """R6.3."""
    assert replicas(wishes(), 0.0) == 1


def test_a_model_on_demand_is_loaded_when_it_is_asked_for_and_leaves_when_it_is_idle() -> None:
    """R6.13: scale to zero and back."""
    made = wishes(ON_DEMAND)
    assert replicas(made, 0.0) == 0
    assert made.take(ModelWanted(M, "request-1"), 10.0, UNLOADED)
    assert not made.take(ModelWanted(M, "request-2"), 11.0, UNLOADED), "asked for already"
    assert replicas(made, 11.0) == 1
    assert made.desired(UNLOADED)[M].waiting_since_s == 10.0
    made.take(DemandSampled((DemandSample(M, arrivals=1, in_flight=1),)), 30.0, LOADED)
    assert replicas(made, 30.0, LOADED) == 1
    made.take(DemandSampled((DemandSample(M, finished=1),)), 40.0, LOADED)
    made.tick(LOADED, {}, 40.0 + DEMAND_S)
    assert replicas(made, 40.0 + 599.0, LOADED) == 1
    assert replicas(made, 40.0 + 600.0, LOADED) == 0


def test_a_demanded_model_that_is_not_configured_is_marked() -> None:
    made = wishes()
    known = {"x": ModelView(config=model("x"))}
    made.take(ModelWanted(ModelId("x"), "request-7"), 0.0, known)
    desired = made.desired(known)[ModelId("x")]
    assert desired.demanded
    assert desired.cause == "request-7"


def test_demands_expire() -> None:
    made = wishes(ON_DEMAND)
    made.take(ModelWanted(M), 0.0, UNLOADED)
    assert replicas(made, 0.0) == 1
    made.tick(UNLOADED, {}, DEMAND_S)
    assert replicas(made, DEMAND_S) == 0


def test_a_model_that_an_operator_unloaded_stays_away_until_it_is_asked_for() -> None:
    made = wishes(ModelRules(min_replicas=1, guaranteed=True))
    assert replicas(made, 0.0, LOADED) == 1
    made.take(ModelUnwanted(M, "operator"), 1.0, LOADED)
    assert replicas(made, 1.0, LOADED) == 0
    assert made.desired(LOADED)[M].set_aside
    assert replicas(made, 1000.0) == 0
    made.take(ModelWanted(M, "request-1"), 1001.0, UNLOADED)
    assert replicas(made, 1001.0) == 1


def test_a_request_that_waits_brings_back_what_was_unloaded() -> None:
    made = wishes()
    made.take(ModelUnwanted(M, "operator"), 1.0, LOADED)
    made.take(DemandSampled((DemandSample(M, finished=3),)), 2.0, LOADED)
    assert replicas(made, 2.0, LOADED) == 0, "what was under way ends; nobody asks anew"
    made.take(DemandSampled((DemandSample(M, arrivals=1, waiting=1),)), 3.0, UNLOADED)
    assert replicas(made, 3.0) == 1


def test_a_pinned_model_does_not_leave_for_being_idle() -> None:
    made = wishes(ON_DEMAND)
    made.take(ModelPinned(M, pinned=True), 0.0, UNLOADED)
    assert replicas(made, 0.0) == 1
    assert replicas(made, 10_000.0, LOADED) == 1
    assert made.desired(LOADED)[M].rules.pinned
    made.take(ModelPinned(M, pinned=False), 10_001.0, LOADED)
    assert replicas(made, 10_001.0, LOADED) == 0, "idle for long"


def test_what_was_learned_is_joined_with_the_spec_by_model_id() -> None:
    """R6.11, R6.8: learned values outlive a restart, nothing is there twice, the spec wins."""
    made = wishes(ModelRules(min_replicas=0, max_replicas=4, keep_alive_s=600.0))
    sample = DemandSample(M, arrivals=30, finished=30, service_s=60.0, in_flight=8)
    made.take(DemandSampled((sample,)), 10.0, LOADED)
    made.take(ModelPinned(M, pinned=True), 10.0, LOADED)
    replicas(made, 10.0, LOADED)
    kept = made.memory(20.0, wall_s=1e9)
    assert [each.model_id for each in kept.models] == ["m"]
    again = Wishes(FleetPolicy())
    again.take(DemandRestored(kept, away_s=30.0), 5.0, {})
    spec = DesiredChanged(models=(model(),), rules={M: ModelRules(max_replicas=1)})
    again.take(spec, 5.0, {})
    assert replicas(again, 5.0) == 1, "as it was, within what the spec allows"
    assert again.desired({})[M].rules.pinned
    assert again.demand.models[M].service_s == 2.0
    assert 0 < again.demand.models[M].requests[2] < made.demand.models[M].requests[2]
    assert list(again.demand.models) == ["m"]


def achieved(concurrency: float, stream_tokens_per_s: float) -> DemandSampled:
    told = Achieved(NeuronId("n1"), OBSERVATIONS_MIN, concurrency, stream_tokens_per_s)
    return DemandSampled((DemandSample(M, finished=OBSERVATIONS_MIN, achieved=(told,)),))


def test_replicas_are_given_the_seats_that_were_learned_to_be_of_use() -> None:
    """R6.10: the snapshot that requests are routed by has them, and a new one is made for it."""
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    assert state.snapshot(0.0).models["m"].replicas[0].seats == CHAT.seats == 4
    state.apply([achieved(1, 30.0), achieved(2, 29.0), achieved(4, 15.0)], 9.0)
    state.apply([NeuronHeard(NeuronId("n1"), 1, 10.0), Tick()], 10.0)
    (replica,) = state.snapshot(10.0).models["m"].replicas
    assert (replica.seats, replica.open_max) == (2, 2)
    assert state.memory(10.0, 0.0).seats[0].limit == 2


def test_a_floor_that_an_operator_moves_counts_at_once() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    assert state.snapshot(0.0).models["m"].replicas[0].seats == 4
    state.apply([achieved(2, 30.0), achieved(4, 15.0)], 9.0)
    state.apply([NeuronHeard(NeuronId("n1"), 1, 10.0), Tick()], 10.0)
    policy = ProvisioningPolicy(learned_seats_min=3)
    state.apply([DesiredChanged(models=(model(),), policy=policy, cause="spec")], 11.0)
    assert state.snapshot(11.0).models["m"].replicas[0].seats == 3


# ── by forecast ───────────────────────────────────────────────────────────────────────────────

MONDAY_S = 4 * 86400.0
NINE_S = MONDAY_S + 9 * HOUR_S


def habit(*hours: int, level: int = 1) -> Profile:
    profile = NEVER
    for hour in hours:
        for _ in range(5):
            profile = with_day(profile, hour, level)
    return profile


def remembering(profile: Profile, rules: ModelRules = ON_DEMAND) -> Wishes:
    made = wishes(rules)
    kept = RememberedModel(model_id=M, profile=profile, idle_s=7200.0)
    made.take(DemandRestored(DemandMemory(models=(kept,))), 0.0, UNLOADED)
    return made


def clock(made: Wishes, local_s: float, now: float) -> None:
    made.take(DemandSampled((), local_s), now, UNLOADED)


def test_a_model_is_loaded_ahead_by_the_time_that_its_loads_take() -> None:
    """R6.14: the longest of all machines, since it is not known yet where it goes."""
    made = remembering(habit(9))
    made.demand.loaded((M, "echo", "cpu"), 40.0)
    made.demand.loaded((M, "echo", "gpu"), 400.0)
    clock(made, NINE_S - 1000.0, 0.0)
    assert replicas(made, 439.0) == 0
    assert replicas(made, 440.0) == 1, "1.25 times 400 s, and a minute"
    desired = made.desired(UNLOADED)[M]
    assert (desired.warm, desired.ahead) == (1, 1)
    assert desired.because == (
        "warm by forecast: wanted on weekdays 09:00-10:00, 5 of the last 5 days"
    )


def test_seats_of_a_model_that_is_not_loaded_are_those_that_it_had() -> None:
    made = remembering(habit(9, level=7), replace(ON_DEMAND, max_replicas=9))
    clock(made, NINE_S, 0.0)
    assert replicas(made, 1.0) == 1
    known = {"m": ModelView(config=model(), capability=CHAT)}
    assert replicas(made, 2.0, known) == 3, "4 seats, of which 3.2 are planned with"


def test_hours_are_learned_from_samples_that_say_what_time_it_is() -> None:
    made, now = wishes(ON_DEMAND), 0.0
    asked = DemandSample(M, arrivals=1, finished=1, service_s=1.0)
    for day in range(3):
        for minute in range(24 * 60):
            local_s = MONDAY_S + day * 86400.0 + minute * 60.0
            samples = (asked,) if minute // 60 == 9 else ()
            made.take(DemandSampled(samples, local_s), now, LOADED)
            now += 60.0
        assert replicas(made, now, UNLOADED) == 0
    clock(made, NINE_S + 3 * 86400.0, now)
    assert replicas(made, now, UNLOADED) == 1
    for_nobody = DemandSample(ModelId("x"), arrivals=1)
    made.take(DemandSampled((for_nobody,), NINE_S + 3 * 86400.0), now, UNLOADED)
    assert set(made.forecast.asked) <= {M}, "of what is not configured nothing is learned"


def test_what_is_only_forecast_and_fits_nowhere_is_not_planned_each_second() -> None:
    made = remembering(habit(9))
    clock(made, NINE_S, 0.0)
    assert made.tick(UNLOADED, {}, 100.0), "it is wanted now"
    planned = [second for second in range(101, 401) if made.tick(UNLOADED, {}, float(second))]
    assert len(planned) == 300 / AHEAD_S
    made.take(ModelWanted(M, "request"), 401.0, UNLOADED)
    assert made.tick(UNLOADED, {}, 402.0)
    assert made.tick(UNLOADED, {}, 403.0), "somebody waits"


@settings(max_examples=25, deadline=None)
@given(
    habits=st.sets(st.integers(0, 23), min_size=1, max_size=12),
    asks=st.sets(st.integers(0, 24 * 12 - 1), max_size=40),
    restarts=st.sets(st.integers(0, 24 * 12 - 1), max_size=4),
    keep_alive_s=st.sampled_from([60.0, 900.0, None]),
    load_s=st.sampled_from([1.0, 300.0, 5000.0]),
)
def test_a_day_with_a_forecast_never_makes_it_flap(
    habits: set[int],
    asks: set[int],
    restarts: set[int],
    keep_alive_s: float | None,
    load_s: float,
) -> None:
    """Whoever comes at whatever time: each hour loads it ahead once at most, and where nobody comes
    it does not stay for longer than a forecast hour and its lead. `asks` are spans of 5 min."""
    rules = ModelRules(min_replicas=0, max_replicas=2, keep_alive_s=keep_alive_s)
    made = remembering(habit(*habits), rules)
    made.demand.loaded((M, "echo", "cpu"), load_s)
    known, ahead, count, vain_s = UNLOADED, [], 0, 0.0
    for second in range(0, 24 * HOUR_S, 20):
        now, local_s = float(second), MONDAY_S + second
        asked = second % 300 == 0 and second // 300 in asks
        if second % 300 == 0 and second // 300 in restarts:
            kept = msgspec.json.encode(made.memory(now, 0.0))
            made = wishes(rules)
            made.take(DemandRestored(msgspec.json.decode(kept, type=DemandMemory)), now, UNLOADED)
        sample = DemandSample(M, arrivals=1, finished=1, service_s=1.0)
        made.take(DemandSampled((sample,) if asked else (), local_s), now, known)
        if asked and not count:
            made.take(ModelWanted(M, "request"), now, known)
        made.tick(known, {}, now)
        desired = made.desired(known)[M]
        if desired.replicas > count and not asked:
            ahead.append((second + HOUR_S // 2) // HOUR_S)
        vain_s = vain_s + 20.0 if desired.ahead and not asked else 0.0
        # Who asked before a restart is asked for by the forecast alone after it: one hour more.
        assert vain_s <= (2.0 if restarts else 1.5) * HOUR_S + 60.0 + 20.0 * len(restarts)
        count = desired.replicas
        known = LOADED if count else UNLOADED
        made._demanded.pop(M, None)
    assert len(ahead) == len(set(ahead))
