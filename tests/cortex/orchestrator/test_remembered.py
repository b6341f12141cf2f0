"""What is kept of demand over a restart, and what comes back of it."""

import msgspec

from helexa.cortex.orchestrator.demand import DemandState, ModelDemand
from helexa.cortex.orchestrator.remembered import (
    DemandMemory,
    RememberedSeats,
    learned_of,
    remembered_model,
    restored_demand,
)
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
    kept = remembered_model(M, state.models[M], 100.0, replicas=2, pinned=True, set_aside=False)
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
