"""What is kept of demand over a restart, and what comes back of it."""

import msgspec

from helexa.cortex.orchestrator.demand import DemandState, ModelDemand
from helexa.cortex.orchestrator.forecast import HOURS, NEVER, Forecaster, with_day
from helexa.cortex.orchestrator.remembered import (
    DemandMemory,
    RememberedModel,
    RememberedSeats,
    learned_of,
    remembered_model,
    restored_demand,
    restored_forecast,
)
from helexa.cortex.orchestrator.sizing import Scale
from helexa.cortex.orchestrator.useful_seats import OBSERVATIONS_MIN, PROBE_S, Curve
from helexa.protocol.ids import ModelId

M = ModelId("m")


def test_what_was_learned_comes_back_and_has_faded_by_the_time_away() -> None:
    """R6.8, R6.10."""
    state = DemandState()
    state.models[M] = ModelDemand(
        at_s=100.0, requests=(8.0, 8.0, 8.0), service_s=2.0, in_flight=3, last_asked_s=90.0
    )
    state.loaded((M, "echo", "cpu"), 12.0)
    for concurrency in (2, 4):
        state.worked((M, "echo", "cpu"), concurrency, 50.0, OBSERVATIONS_MIN)
    state.settle(least=2, now=100.0)
    loads, seats = learned_of(state)
    kept = remembered_model(
        M, state.models[M], 100.0, scale=Scale(2), forecast=Forecaster(), pinned=True,
        set_aside=False,
    )  # fmt: skip
    memory = DemandMemory(models=(kept,), loads=loads, seats=seats)
    memory = msgspec.json.decode(msgspec.json.encode(memory), type=DemandMemory)
    again = restored_demand(memory, 7.0, away_s=600.0)
    demand = again.models[M]
    assert demand.requests[0] < 0.01 < 2.0 < demand.requests[1] < demand.requests[2] < 8.0
    assert (demand.in_flight, demand.service_s) == (0, 2.0)
    assert demand.idle_s(7.0) == 600.0
    assert again.load_s == {(M, "echo", "cpu"): 12.0}
    useful = again.useful[M, "echo", "cpu"]
    assert (useful.limit, useful.probe_at_s) == (2, 7.0 + PROBE_S)
    assert useful.curve == state.useful[M, "echo", "cpu"].curve
    assert (kept.replicas, kept.pinned) == (2, True)


def test_seats_of_another_shape_are_learned_anew() -> None:
    short = Curve(tokens_per_s=(1.0,), observations=(99,))
    odd = [RememberedSeats(model_id=M, engine="echo", hardware="cpu", curve=short)]
    odd += [RememberedSeats(model_id=M, engine="vllm", hardware="cpu", curve=Curve(), limit=3)]
    assert restored_demand(DemandMemory(seats=tuple(odd)), 0.0, away_s=0.0).useful == {}


def test_hours_come_back_with_the_one_that_was_under_way() -> None:
    """R6.8."""
    made = Forecaster()
    made.restore({M: with_day(NEVER, 9, 3)}, {M: 2}, 475_000, 1200.0)
    kept = remembered_model(
        M,
        ModelDemand(),
        0.0,
        scale=Scale(1, ahead_since_s=5.0),
        forecast=made,
        pinned=False,
        set_aside=False,
    )
    memory = DemandMemory(models=(kept,), hour=made.hour, lived_s=made.lived_s)
    memory = msgspec.json.decode(msgspec.json.encode(memory), type=DemandMemory)
    assert memory.models[0].ahead
    again = restored_forecast(memory)
    assert again.profiles == made.profiles
    assert (again.asked, again.hour, again.lived_s) == ({M: 2}, 475_000, 1200.0)


def test_a_memory_that_knows_no_hours_is_read_still() -> None:
    """Files of the version before this are good."""
    old = b'{"wall_s":5.0,"models":[{"model_id":"m","requests":[1,1,1],"replicas":1}],"loads":[]}'
    memory = msgspec.json.decode(old, type=DemandMemory)
    assert memory.models[0].replicas == 1
    again = restored_forecast(memory)
    assert (again.profiles, again.hour) == ({}, None)


def test_hours_that_are_no_profile_are_not_used() -> None:
    odd = ((1,),) * (HOURS - 1)
    memory = DemandMemory(models=(RememberedModel(model_id=M, profile=odd, asked=-4),))
    again = restored_forecast(memory)
    assert (again.profiles, again.asked) == ({}, {})


def test_what_is_kept_of_a_model_is_small() -> None:
    profile = NEVER
    for place in range(HOURS):
        for _ in range(9):
            profile = with_day(profile, place, 10**9)
    made = Forecaster()
    made.restore({M: profile}, {}, 1, 0.0)
    kept = remembered_model(
        M, ModelDemand(), 0.0, scale=Scale(1), forecast=made, pinned=False, set_aside=False
    )
    assert len(msgspec.json.encode(kept)) < 4096
