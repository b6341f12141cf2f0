"""What a gateway tells of demand, from the ends of requests and what is under way."""

import msgspec

from helexa.cortex.gateway.demand_meter import NAMES_MAX, DemandMeter
from helexa.cortex.gateway.metering import Outcome, Record
from helexa.protocol.ids import ModelId
from helexa.protocol.inference import Trailer, Usage
from helexa.protocol.workload import Operation

M = ModelId("m")
NAMES = {"m": M, "alias": M}
ANSWERED = Record(
    request_id="r", operation=Operation.CHAT, key_id="k", model="m", neuron="n1", stream=True,
    status=200, outcome=Outcome.OK, code="", duration_ms=9000.0, first_byte_ms=10.0, bytes_out=1,
    trailer=Trailer(
        usage=Usage(prompt_tokens=10, completion_tokens=5), duration_ms=2500.0, queued_ms=500.0
    ),
    attempts=1,
)  # fmt: skip
REFUSED = msgspec.structs.replace(ANSWERED, neuron="", trailer=None, status=503)


def test_arrivals_are_what_ended_and_what_is_under_way_more_than_before() -> None:
    """R6.9."""
    meter = DemandMeter()
    (first,) = meter.samples({M: 2}, {M: 1}, NAMES)
    assert (first.arrivals, first.finished, first.in_flight, first.waiting) == (3, 0, 2, 1)
    meter.record(ANSWERED)
    (second,) = meter.samples({M: 2}, {}, NAMES)
    assert (second.arrivals, second.finished) == (0, 1), "the waiting one was sent"
    meter.record(ANSWERED)
    meter.record(ANSWERED)
    (third,) = meter.samples({}, {}, NAMES)
    assert (third.arrivals, third.finished, third.in_flight) == (0, 2, 0)
    assert meter.samples({}, {}, NAMES) == ()


def test_time_and_tokens_are_those_on_the_replica() -> None:
    meter = DemandMeter()
    meter.record(ANSWERED)
    (sample,) = meter.samples({}, {}, NAMES)
    assert (sample.service_s, sample.prompt_tokens, sample.completion_tokens) == (2.0, 10, 5)
    assert sample.arrivals == 1


def test_a_refused_request_was_asked_for_too_under_any_of_the_model_s_names() -> None:
    meter = DemandMeter()
    meter.record(msgspec.structs.replace(REFUSED, model="alias"))
    meter.record(ANSWERED)
    (sample,) = meter.samples({}, {}, NAMES)
    assert (sample.model_id, sample.arrivals, sample.finished) == ("m", 2, 1)


def test_names_that_callers_make_up_count_nowhere_and_do_not_pile_up() -> None:
    meter = DemandMeter()
    for number in range(NAMES_MAX + 10):
        meter.record(msgspec.structs.replace(REFUSED, model=f"made-up-{number}"))
    meter.record(msgspec.structs.replace(REFUSED, model=""))
    assert meter.samples({}, {}, NAMES) == ()


def fast(first: int, last: int, neuron: str = "n1", **fields: object) -> Record:
    """An answer of 101 tokens in two seconds after its first."""
    trailer = Trailer(
        usage=Usage(prompt_tokens=10, completion_tokens=101),
        first_token_ms=500.0,
        duration_ms=2500.0,
    )
    told = {"trailer": trailer, "neuron": neuron, "beside_first": first, "beside_last": last}
    return msgspec.structs.replace(ANSWERED, **(told | fields))


def test_speeds_are_told_by_neuron_and_by_how_many_requests_it_had() -> None:
    """R6.10."""
    meter = DemandMeter()
    for record in (fast(3, 4), fast(4, 3), fast(1, 1), fast(3, 3, "n2")):
        meter.record(record)
    (sample,) = meter.samples({}, {}, NAMES)
    assert [(a.neuron_id, a.requests, a.concurrency) for a in sample.achieved] == [
        ("n1", 2, 3.5), ("n1", 1, 1.0), ("n2", 1, 3.0),
    ]  # fmt: skip
    assert {a.stream_tokens_per_s for a in sample.achieved} == {50.0}


def test_nothing_is_told_of_a_speed_that_was_that_of_no_one_concurrency() -> None:
    meter = DemandMeter()
    untimed = Trailer(usage=Usage(prompt_tokens=1, completion_tokens=101), duration_ms=2500.0)
    short = Trailer(
        usage=Usage(prompt_tokens=1, completion_tokens=3), first_token_ms=1.0, duration_ms=9.0
    )
    for record in (
        fast(1, 3), fast(7, 3), fast(0, 0), fast(2, 2, resumes=1), fast(2, 2, trailer=untimed),
        fast(2, 2, trailer=short), fast(2, 2, trailer=None),
    ):  # fmt: skip
        meter.record(record)
    (sample,) = meter.samples({}, {}, NAMES)
    assert (sample.arrivals, sample.achieved) == (7, ())
