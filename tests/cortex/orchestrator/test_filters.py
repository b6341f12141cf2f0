"""The filters as a list: order, names, and that none lets through what another needs."""

import msgspec
import pytest

from helexa.cortex.orchestrator.filters import FILTERS, refuse_unsupported, supports
from helexa.cortex.orchestrator.requests import Candidate, RoutingRequest, candidate_of
from helexa.cortex.orchestrator.snapshot import ModelView, Replica
from helexa.protocol.dialects.dialect import DIALECTS
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.model import ModelCapability
from helexa.protocol.workload import Operation, WorkloadClass
from tests.fakes.fleet import CHAT, EMBEDDINGS, model

BY_NAME = {each.name: each for each in FILTERS}


def candidate(
    capability: ModelCapability = CHAT, in_flight: int = 0, **fields: object
) -> Candidate:
    replica = Replica(ModelId("m"), NeuronId("n1"), 1, capability, **fields)  # type: ignore[arg-type]
    return candidate_of(replica, in_flight)


def request(**fields: object) -> RoutingRequest:
    given = {
        "request_id": "r",
        "operation": Operation.CHAT,
        "workload_class": WorkloadClass.CHAT_INTERACTIVE,
    }
    return RoutingRequest(**(given | fields))  # type: ignore[arg-type]


def test_lasting_reasons_come_before_passing_ones() -> None:
    assert [each.name for each in FILTERS] == [
        "capability", "dialect", "context", "untried", "cordon", "health", "circuit", "seats",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "asked", "bad"),
    [
        ("capability", request(), candidate(EMBEDDINGS)),
        ("capability", request(tools=True), candidate(msgspec.structs.replace(CHAT, tools=False))),
        ("dialect", request(operation=Operation.MESSAGES), candidate(dialects=("openai",))),
        ("context", request(prompt_tokens_min=5000), candidate()),
        ("untried", request(excluded=(candidate().replica,)), candidate()),
        ("cordon", request(), candidate(cordoned=True)),
        ("health", request(), candidate(healthy=False)),
        ("health", request(), candidate(suspect=True)),
        ("circuit", request(), candidate(in_flight=1, probing=True)),
        ("seats", request(), candidate(in_flight=1000)),
    ],
)
def test_each_filter_removes_its_case_and_says_why(
    name: str, asked: RoutingRequest, bad: Candidate
) -> None:
    each = BY_NAME[name]
    good = candidate(ModelCapability(workloads=CHAT.workloads, seats=4, context_tokens=9999))
    spoken = tuple(DIALECTS)
    elsewhere = Replica(ModelId("m"), NeuronId("n2"), 1, good.replica.capability, dialects=spoken)
    good = msgspec.structs.replace(good, replica=elsewhere)
    assert each.keep(asked, [bad, good]) == [good]
    assert each.because(asked, bad)


def test_a_neuron_that_came_back_as_a_new_process_was_not_tried() -> None:
    asked = request(excluded=(candidate().replica,))
    again = candidate_of(Replica(ModelId("m"), NeuronId("n1"), 2, CHAT), 0)
    assert BY_NAME["untried"].keep(asked, [again]) == [again]


@pytest.mark.parametrize(("left_on", "there_now", "kept"), [(1, 1, 0), (1, 2, 1), (0, 2, 0)])
def test_a_neuron_that_a_request_lost_with_its_connection_is_tried_on_a_new_one(
    left_on: int, there_now: int, kept: int
) -> None:
    """0 is any connection: it was not the connection that failed."""
    left = candidate(connection=left_on).replica
    found = BY_NAME["untried"].keep(request(excluded=(left,)), [candidate(connection=there_now)])
    assert len(found) == kept


def test_a_model_that_does_not_tell_what_it_does_is_given_a_try() -> None:
    assert supports(request(), ModelCapability())
    assert supports(request(tools=True, json_schema=True), ModelCapability())


@pytest.mark.parametrize(
    ("asked", "lacking", "param"),
    [
        (request(tools=True), ModelCapability(tools=False), "tools"),
        (request(json_schema=True), ModelCapability(json_schema=False), "response_format"),
    ],
)
def test_what_an_engine_would_silently_drop_is_refused_by_its_field(
    asked: RoutingRequest, lacking: ModelCapability, param: str
) -> None:
    """Lesson 8."""
    assert not supports(asked, lacking)
    assert supports(request(), lacking)
    view = ModelView(config=model("m"), capability=lacking)
    refusal = refuse_unsupported(asked, view)
    assert (refusal.status, refusal.param) == (400, param)
    assert "/v1/models" in refusal.because


def test_a_replica_that_is_given_fewer_seats_than_its_engine_has_says_why_it_is_full() -> None:
    given = candidate(in_flight=2, useful_seats=2)
    full = BY_NAME["seats"]
    assert full.keep(request(), [given, candidate(in_flight=5)]) == [candidate(in_flight=5)]
    assert full.because(request(), given) == (
        "2 requests on 2 seats (its engine has 4; more than 2 at a time bring no more)"
    )
