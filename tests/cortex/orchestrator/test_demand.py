"""Rates, service times and what is learned, as scripts of samples."""

import math

from hypothesis import given
from hypothesis import strategies as st

from helexa.cortex.orchestrator.demand import (
    LEARNED_MAX,
    DemandSample,
    DemandState,
    Learned,
    ModelDemand,
    hardware_key,
)
from helexa.cortex.orchestrator.useful_seats import OBSERVATIONS_MIN, PROBE_S
from helexa.protocol.ids import ModelId
from helexa.protocol.neuron import Device
from tests.fakes.fleet import GIB, capabilities

M = ModelId("m")


def steady(per_s: float, span_s: int, service_s: float = 2.0) -> DemandState:
    state = DemandState()
    state.of(M, 0.0)
    count = round(per_s)
    for second in range(1, span_s + 1):
        sample = DemandSample(
            M, arrivals=count, finished=count, prompt_tokens=100 * count,
            completion_tokens=50 * count, service_s=service_s * count,
            in_flight=round(count * service_s),
        )  # fmt: skip
        state.take([sample], float(second))
    return state


def test_a_steady_stream_of_requests_shows_on_every_horizon() -> None:
    """R6.9."""
    demand = steady(4, 7200).models[M]
    one, ten, hour = demand.requests
    assert math.isclose(one, 4.0, rel_tol=0.01)
    assert math.isclose(ten, 4.0, rel_tol=0.01)
    assert 3.0 < hour < 4.0
    assert math.isclose(demand.completion_tokens[0], 200.0, rel_tol=0.01)
    assert math.isclose(demand.service_s, 2.0)
    assert math.isclose(demand.expected(), 8.0, rel_tol=0.02), "Little's law"


def test_rates_fade_by_time_alone_the_shorter_the_faster() -> None:
    demand = steady(4, 3600).models[M].at(3600.0 + 600.0)
    one, ten, hour = demand.requests
    assert one < 0.01
    assert 1.0 < ten < 2.0
    assert hour > ten


def test_a_level_is_what_lasts_and_is_left_behind_by_neither_burst_nor_rush() -> None:
    assert ModelDemand().level() == 1
    rush = steady(4, 1800).models[M]
    assert rush.level() == 8
    assert rush.at(1800.0 + 300.0).level() == 1, "five minutes later the rush is over"
    state = steady(0, 600)
    burst = DemandSample(M, arrivals=100, finished=100, service_s=200.0)
    state.take([burst], 601.0)
    assert state.models[M].level() == 1, "100 requests of 2 s in ten minutes"


def test_who_waits_counts_before_anything_was_served() -> None:
    state = DemandState()
    state.of(M, 0.0)
    for second in range(1, 61):
        state.take([DemandSample(M, arrivals=1, waiting=second)], float(second))
    demand = state.models[M]
    assert demand.expected() > 20
    assert demand.waiting_since_s == 1.0
    state.take([], 61.0)
    assert state.models[M].waiting_since_s is None, "no sample names it: nobody waits any more"


def test_idle_time_counts_from_the_last_request_and_not_while_one_runs() -> None:
    state = DemandState()
    assert state.of(M, 5.0).idle_s(9.0) == 4.0, "since it was first heard of"
    state.take([DemandSample(M, arrivals=1, in_flight=1)], 10.0)
    assert state.of(M, 500.0).idle_s(500.0) == 0.0
    state.take([DemandSample(M, finished=1, service_s=490.0)], 501.0)
    assert state.of(M, 511.0).idle_s(511.0) == 10.0
    state.asked(M, 520.0)
    assert state.of(M, 521.0).idle_s(521.0) == 1.0


def test_load_times_are_learned_per_machine_and_guessed_from_others() -> None:
    """R6.14."""
    state = DemandState()
    state.loaded((M, "echo", "cpu"), 10.0)
    state.loaded((M, "echo", "cpu"), 20.0)
    learned = Learned(state.load_s, state.useful)
    assert learned.load_time_s(M, "echo", "cpu") == 15.0
    assert learned.load_time_s(M, "echo", "gpu") == 15.0
    assert learned.load_time_s(ModelId("x"), "echo", "cpu") is None


def test_useful_seats_are_learned_per_model_engine_and_machine() -> None:
    """R6.10: and the models for which that changed are told."""
    state = DemandState()
    key = (M, "llamacpp", "cpu")
    for concurrency, speed in ((2, 58.0), (4, 95.0), (8, 99.0)):
        state.worked(key, concurrency, speed, OBSERVATIONS_MIN)
    assert state.settle(least=2, now=1.0) == {M}
    assert state.settle(least=2, now=2.0) == set()
    learned = Learned(state.load_s, state.useful)
    assert learned.seats(key, 8, 2) == 4
    assert learned.seats((M, "llamacpp", "gpu"), 8, 2) == 8, "another machine is another matter"
    assert learned.seats((ModelId("x"), "llamacpp", "cpu"), 8, 2) == 8, "and so is another model"


def test_a_probe_begins_where_requests_wait() -> None:
    state = DemandState()
    key = (M, "llamacpp", "cpu")
    for concurrency in (2, 4, 8):
        state.worked(key, concurrency, 50.0, OBSERVATIONS_MIN)
    state.settle(least=2, now=0.0)
    assert state.settle(least=2, now=PROBE_S) == set()
    state.take([DemandSample(M, arrivals=9, waiting=1)], PROBE_S)
    assert state.settle(least=2, now=PROBE_S) == {M}
    assert Learned(useful=state.useful).seats(key, 8, 2) == 4


def test_what_is_learned_has_a_bound() -> None:
    state = DemandState()
    for number in range(LEARNED_MAX):
        state.load_s[ModelId(f"m{number}"), "echo", "cpu"] = 1.0
    state.loaded((M, "echo", "cpu"), 1.0)
    assert len(state.load_s) == LEARNED_MAX
    assert (M, "echo", "cpu") in state.load_s


def test_models_nobody_wants_or_asks_for_are_forgotten() -> None:
    state = DemandState()
    state.of(M, 0.0)
    state.of(ModelId("other"), 0.0)
    state.retain([M], 1e6)
    assert list(state.models) == [M]


def test_machines_of_one_kind_share_a_name() -> None:
    assert hardware_key(capabilities().hardware) == "cpu unknown 8"
    hardware = capabilities().hardware
    card = Device(index=0, vendor="x", name="L4", memory_total_bytes=GIB, memory_free_bytes=0)
    two = type(hardware)(
        cpu_count=8, memory_total_bytes=1, memory_available_bytes=1, devices=(card, card)
    )
    assert hardware_key(two) == "2x L4"


SAMPLES = st.builds(
    DemandSample,
    model_id=st.just(M),
    arrivals=st.integers(0, 1000),
    finished=st.integers(0, 1000),
    service_s=st.floats(0, 1e5),
    in_flight=st.integers(0, 1000),
    waiting=st.integers(0, 1000),
)


@given(st.lists(st.tuples(SAMPLES, st.floats(0.0, 100.0)), max_size=30))
def test_no_sample_makes_a_rate_negative_or_infinite(
    steps: list[tuple[DemandSample, float]],
) -> None:
    demand, now = ModelDemand(), 0.0
    for sample, pause_s in steps:
        now += pause_s
        demand = demand.with_sample(sample, now)
        for value in (*demand.requests, demand.service_s, demand.expected(), demand.concurrency):
            assert value >= 0.0
            assert math.isfinite(value)
