"""Why a model is placed as it is: the funnel, and what would help."""

from helexa.cortex.observe.placing import placing
from helexa.cortex.orchestrator.demand import DemandSample
from helexa.cortex.orchestrator.events import DemandSampled, DesiredChanged, NeuronHeard, Tick
from helexa.cortex.orchestrator.fleet import FleetState
from helexa.cortex.orchestrator.rules import ModelRules, Priority
from helexa.cortex.orchestrator.useful_seats import OBSERVATIONS_MIN, Achieved
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from tests.fakes.fleet import GIB, expected_at_nine, fleet, joined, model, register, status

M, BIG = ModelId("m"), ModelId("big")


def world() -> FleetState:
    """Return a fleet: n1 has m and no room for big; n2 has no engine for it; n3 has room."""
    state = fleet()
    rules = {M: ModelRules(pinned=True, priority=Priority.HIGH), BIG: ModelRules(min_replicas=0)}
    state.apply([
        DesiredChanged((model("m", aliases=("mm",)), model("big")), rules=rules),
        joined(1, register("n1", status(model("m")), budget_bytes=GIB)),
        joined(2, register("n2", engines=("vllm",))),
        joined(3, register("n3", status(model("big"), ModelState.UNLOADED), budget_bytes=GIB)),
    ], 0.0)  # fmt: skip
    state.snapshot(0.0)
    state.apply([DemandSampled((DemandSample(M, arrivals=6, in_flight=2),))], 1.0)
    return state


def test_the_funnel_tells_what_each_constraint_removes() -> None:
    told = placing(world().snapshot(1.0), "big", 1.0)
    assert told is not None
    removed_by = {s["filter"]: [r["neuron"] for r in s["removed"]] for s in told["funnel"]}
    assert removed_by == {"memory": ["n1"], "engine": ["n2"]}
    (removed,) = told["funnel"][0]["removed"]
    assert removed["would_help"] == "would fit if m, in use, left (it is pinned)"
    assert (told["next"], told["because"]) == ("n3", "one more would go to n3")
    assert told["candidates"] == [
        {"neuron": "n3", "free_bytes": GIB, "has_config": True, "apart_from_others": True,
         "evicts": []},
    ]  # fmt: skip
    assert (told["wanted"], told["turn"], told["needs_bytes"]) == (0, 2, GIB)


def test_what_is_asked_of_it_and_by_whom_it_is_bound_is_told() -> None:
    told = placing(world().snapshot(1.0), "mm", 1.0)
    assert told is not None
    assert (told["model"], told["replicas"], told["turn"]) == ("m", ["n1"], 1)
    assert told["rules"]["priority"] == "high"
    assert told["rules"]["placement"]["with"] == []
    assert told["demand"]["in_flight"] == 2
    assert told["demand"]["requests_per_s"]["minute"] > 0
    assert told["funnel"][0] == {
        "filter": "held", "removed": [{"neuron": "n1", "because": "has it, or is about to"}],
    }  # fmt: skip


def test_nobody_left_to_take_it_is_said() -> None:
    state = fleet(model("m"))
    state.apply([joined(1, register("n1", status(model("m"))))], 0.0)
    told = placing(state.snapshot(0.0), "m", 0.0)
    assert told is not None
    assert told["because"] == "every neuron has it already"
    assert placing(state.snapshot(0.0), "nobody", 0.0) is None


def test_the_seats_of_each_replica_are_told_with_what_was_learned_of_them() -> None:
    """R6.10."""
    state = fleet(model("m"))
    state.apply([joined(1, register("n1", status(model("m"))))], 0.0)
    state.snapshot(0.0)
    told = tuple(
        Achieved(NeuronId("n1"), OBSERVATIONS_MIN, count, speed)
        for count, speed in ((2, 30), (4, 15))
    )
    state.apply([DemandSampled((DemandSample(M, finished=40, achieved=told),))], 9.0)
    state.apply([NeuronHeard(NeuronId("n1"), 1, 10.0), Tick()], 10.0)
    shown = placing(state.snapshot(10.0), "m", 10.0)
    assert shown is not None
    assert shown["seats"] == [
        {"neuron": "n1", "seats": 2, "engine_seats": 4, "tokens_per_s": {2: 60.0, 4: 60.0},
         "probing": False},
    ]  # fmt: skip


def test_the_hours_of_a_forecast_are_told_and_what_they_mean_now() -> None:
    told = placing(expected_at_nine(ModelRules(min_replicas=0)).snapshot(0.0), "m", 0.0)
    assert told is not None
    hours = ["wanted on weekdays 09:00-10:00, 4 of the last 5 days"]
    assert told["forecast"] == {"warm": 1, "ahead": 1, "hours": hours}
    assert told["wanted_because"] == f"warm by forecast: {hours[0]}"
    off = expected_at_nine(ModelRules(min_replicas=0, forecast=False))
    told = placing(off.snapshot(0.0), "m", 0.0)
    assert told is not None
    assert told["forecast"] == {"warm": 0, "ahead": 0, "hours": hours}
    assert told["rules"]["forecast"] is False
