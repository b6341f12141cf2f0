"""Routing: who may serve, who serves best, and what a caller is told otherwise."""

from types import MappingProxyType

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.cortex.orchestrator.filters import COUNTS_PER_REPLICA_MAX
from helexa.cortex.orchestrator.prefix import blocks_of, holder_of
from helexa.cortex.orchestrator.requests import RoutingDecision
from helexa.cortex.orchestrator.router import Router
from helexa.cortex.orchestrator.scheduler import explain, route
from helexa.cortex.orchestrator.snapshot import WAITING_PER_REPLICA_MAX, ModelView
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelCapability
from helexa.protocol.workload import WORKLOAD_OF_OPERATION, Operation, Workload, WorkloadClass
from tests.fakes.fleet import CHAT, EMBEDDINGS, model
from tests.fakes.routing import M, idle, replica, request, snapshot

PROMPT = blocks_of(memoryview(bytes(64 << 10)))


def refused(outcome: RoutingDecision | Refusal) -> Refusal:
    assert isinstance(outcome, Refusal)
    return outcome


def chosen(outcome: RoutingDecision | Refusal) -> str:
    assert isinstance(outcome, RoutingDecision), outcome
    return outcome.replica.neuron_id


def test_a_decision_names_model_neuron_and_mode() -> None:
    """R2.11."""
    outcome = route(request(model="alias"), snapshot(replica("n1")), idle)
    assert isinstance(outcome, RoutingDecision)
    assert outcome.model_id == "m"
    assert [neuron.id for neuron in outcome.neurons] == ["n1"]
    assert outcome.mode == "single"


def test_the_least_busy_replica_is_chosen() -> None:
    """R2.4, R2.27: load is what this gateway has in flight, by seats."""
    loads = {"a": 3, "b": 1, "c": 2}
    fleet = snapshot(*(replica(name) for name in loads))
    assert chosen(route(request(), fleet, lambda r: loads[r.neuron_id])) == "b"


def test_seats_weigh_the_load() -> None:
    big = replica("big", ModelCapability(workloads=(Workload.CHAT,), seats=16))
    small = replica("small", ModelCapability(workloads=(Workload.CHAT,), seats=2))
    loads = {"big": 4, "small": 1}
    assert chosen(route(request(), snapshot(big, small), lambda r: loads[r.neuron_id])) == "big"


def test_work_that_others_sent_is_seen() -> None:
    fleet = snapshot(replica("a", active_requests=3), replica("b"))
    assert chosen(route(request(), fleet, idle)) == "b"


def test_ties_are_broken_by_the_request_id_and_nothing_else() -> None:
    fleet = snapshot(*(replica(f"n{i}") for i in range(4)))
    first = [chosen(route(request(request_id=f"r{i}"), fleet, idle)) for i in range(200)]
    again = [chosen(route(request(request_id=f"r{i}"), fleet, idle)) for i in range(200)]
    assert first == again
    counts = {name: first.count(name) for name in set(first)}
    assert len(counts) == 4
    assert min(counts.values()) > 20, counts


def test_a_failed_replica_is_not_tried_again() -> None:
    fleet = snapshot(replica("a"), replica("b"))
    assert chosen(route(request(excluded=(replica("a"),)), fleet, idle)) == "b"
    both = request(excluded=(replica("a"), replica("b")))
    assert refused(route(both, fleet, idle)).code is ErrorCode.UPSTREAM_CONNECTION_ERROR


def test_suspect_and_unhealthy_neurons_get_no_requests() -> None:
    """R2.4, R2.26, R2.40; lesson: a blip is 503 with Retry-After 3, never 404."""
    fleet = snapshot(replica("a", suspect=True), replica("b", healthy=False), replica("c"))
    assert chosen(route(request(), fleet, idle)) == "c"
    refusal = refused(route(request(excluded=(replica("c"),)), fleet, idle))
    assert (refusal.status, refusal.retry_after) == (503, 3)


def test_a_model_that_cannot_do_it_is_the_callers_mistake() -> None:
    """R2.25."""
    fleet = snapshot(replica("a", EMBEDDINGS))
    refusal = refused(route(request(), fleet, idle))
    assert (refusal.status, refusal.param) == (400, "model")
    assert "embeddings" in refusal.because
    fits = request(operation=Operation.EMBEDDINGS, workload_class=WorkloadClass.EMBEDDING)
    assert chosen(route(fits, fleet, idle)) == "a"


def test_images_need_a_model_that_sees() -> None:
    asked = request(workload_class=WorkloadClass.VISION_CAPTION)
    assert refused(route(asked, snapshot(replica("a")), idle)).status == 400
    sees = ModelCapability(workloads=(Workload.CHAT,), vision=True)
    assert chosen(route(asked, snapshot(replica("a"), replica("b", sees)), idle)) == "b"


def test_tools_and_json_go_where_they_are_honoured_and_nowhere_else() -> None:
    """R2.3, lesson 8: never a silent answer without tools, also when the model was just asked."""
    plain = msgspec.structs.replace(CHAT, tools=False, json_schema=False)
    able = msgspec.structs.replace(CHAT, tools=True, json_schema=True)
    mixed, without = (
        snapshot(replica("a", plain), replica("b", able)),
        snapshot(replica("a", plain)),
    )
    for field, param in (("tools", "tools"), ("json_schema", "response_format")):
        asked = request(**{field: True})
        assert chosen(route(request(), without, idle)) == "a"
        assert refused(route(asked, without, idle)).param == param
        for request_id in ("r1", "r2", "r3", "r4"):
            again = msgspec.structs.replace(asked, request_id=request_id)
            assert chosen(route(again, mixed, idle)) == "b"
    assert chosen(route(request(tools=True), snapshot(replica("a")), idle)) == "a"


def test_a_model_that_is_not_loaded_refuses_tools_at_once_where_it_is_known_to_take_none() -> None:
    view = ModelView(
        config=model("m"), capability=msgspec.structs.replace(CHAT, tools=False), loadable=True
    )
    refusal = refused(route(request(tools=True), snapshot(view=view), idle))
    assert (refusal.status, refusal.param) == (400, "tools")
    assert refused(route(request(), snapshot(view=view), idle)).code is ErrorCode.MODEL_LOADING


def test_a_prompt_goes_where_it_fits() -> None:
    wide = ModelCapability(workloads=(Workload.CHAT,), context_tokens=32768)
    fleet = snapshot(replica("narrow"), replica("wide", wide))
    assert chosen(route(request(prompt_tokens_min=10_000), fleet, idle)) == "wide"
    refusal = refused(route(request(prompt_tokens_min=50_000), fleet, idle))
    assert refusal.code is ErrorCode.CONTEXT_LENGTH_EXCEEDED
    assert "32768" in refusal.because


def test_a_full_model_is_429() -> None:
    limit = CHAT.seats + WAITING_PER_REPLICA_MAX
    fleet = snapshot(replica("a"))
    assert chosen(route(request(), fleet, lambda _r: limit - 1)) == "a"
    refusal = refused(route(request(), fleet, lambda _r: limit))
    assert refusal.code is ErrorCode.RATE_LIMIT_EXCEEDED
    assert refusal.status == 429


def test_an_unknown_model_is_404_with_the_nearest_names() -> None:
    refusal = refused(route(request(model="alais"), snapshot(replica("a")), idle))
    assert (refusal.status, refusal.code) == (404, ErrorCode.MODEL_NOT_FOUND)
    assert "alias" in refusal.because
    assert refusal.retry_after is None


def test_a_very_long_name_is_not_repeated_whole() -> None:
    refusal = refused(route(request(model="x" * 100_000), snapshot(replica("a")), idle))
    assert len(refusal.because) < 400


@pytest.mark.parametrize(
    ("workload_class", "expected"),
    [
        (WorkloadClass.CHAT_INTERACTIVE, "a"),
        (WorkloadClass.CHAT_BULK, "a"),
        (WorkloadClass.EMBEDDING, None),
    ],
)
def test_a_request_without_a_model_gets_the_default_of_its_class(
    workload_class: WorkloadClass, expected: str | None
) -> None:
    """R1.22."""
    defaults = MappingProxyType({WorkloadClass.CHAT_INTERACTIVE: M})
    fleet = snapshot(replica("a"), default_models=defaults)
    outcome = route(request(model=None, workload_class=workload_class), fleet, idle)
    if expected is None:
        assert refused(outcome).code is ErrorCode.MISSING_MODEL_FIELD
    else:
        assert chosen(outcome) == expected


def test_a_loading_model_says_so_with_its_progress() -> None:
    view = ModelView(config=model("m"), loading=True, because="fetching weights", progress=0.42)
    refusal = refused(route(request(), snapshot(view=view), idle))
    assert refusal.code is ErrorCode.MODEL_LOADING
    assert "fetching weights (42%)" in refusal.because
    assert refusal.retry_after is not None


def test_a_model_that_could_be_loaded_counts_as_loading() -> None:
    view = ModelView(config=model("m"), loadable=True, because="it is not loaded")
    assert refused(route(request(), snapshot(view=view), idle)).code is ErrorCode.MODEL_LOADING


def test_a_model_that_nobody_can_hold_is_unavailable_with_the_reason() -> None:
    view = ModelView(config=model("m"), unplaceable=True, because="needs 21.4 GiB")
    refusal = refused(route(request(), snapshot(view=view), idle))
    assert refusal.code is ErrorCode.SERVICE_UNAVAILABLE
    assert "needs 21.4 GiB" in refusal.because


@pytest.mark.parametrize(("attempt_s", "told"), [(12.2, 13), (0.1, 3), (3600.0, 30)])
def test_a_waiting_model_says_when_to_come_back(attempt_s: float, told: int) -> None:
    view = ModelView(config=model("m"), because="crashed", next_attempt_s=attempt_s)
    assert refused(route(request(), snapshot(view=view), idle)).retry_after == told


def test_a_model_that_is_down_and_could_not_do_it_anyway_says_so() -> None:
    view = ModelView(config=model("m"), loading=True, capability=EMBEDDINGS)
    assert refused(route(request(), snapshot(view=view), idle)).status == 400


def test_an_explanation_names_every_replica_and_why() -> None:
    fleet = snapshot(replica("a", healthy=False), replica("b"), replica("c"))
    found = explain(request(), fleet, lambda r: 2 if r.neuron_id == "c" else 0)
    assert found.chosen == "b"
    by_name = {finding.neuron_id: finding for finding in found.findings}
    assert by_name[NeuronId("a")].filter == "health"
    assert by_name[NeuronId("c")].score == 0.5
    assert by_name[NeuronId("c")].scores == (("wait", 0.5),)
    assert (found.reason, found.strategy, found.weights) == (
        "least_loaded", "default", (("wait", 1.0),),
    )  # fmt: skip


def test_an_explanation_of_a_refusal_is_the_refusal() -> None:
    found = explain(request(model="nope"), snapshot(replica("a")), idle)
    assert found.chosen is None
    assert "nope" in found.because


CAPABILITIES = st.builds(
    ModelCapability,
    workloads=st.sets(st.sampled_from(list(Workload))).map(tuple),
    context_tokens=st.none() | st.integers(1, 10_000),
    seats=st.integers(1, 8),
    vision=st.booleans(),
)
MARKS = st.fixed_dictionaries(
    {
        name: st.sampled_from([usual, usual, usual, not usual])
        for name, usual in {
            "healthy": True, "probing": False, "suspect": False, "cordoned": False,
        }.items()
    }
)  # fmt: skip
REPLICAS = st.lists(st.tuples(CAPABILITIES, MARKS, st.integers(0, 80)), max_size=8)
MANY = st.tuples(st.integers(65, 200), st.sets(st.integers(0, 199), max_size=8))


@given(
    rows=REPLICAS,
    operation=st.sampled_from(list(Operation)),
    workload_class=st.sampled_from(list(WorkloadClass)),
    prompt_tokens=st.integers(0, 12_000),
    excluded=st.sets(st.integers(0, 7)),
    asks=st.fixed_dictionaries({"tools": st.booleans(), "session": st.sampled_from(["", "s"])}),
    prefix_blocks=st.integers(0, 20),
)
def test_routing_picks_an_eligible_replica_whenever_there_is_one_and_never_another(
    rows: list[tuple[ModelCapability, dict[str, bool], int]],
    operation: Operation,
    workload_class: WorkloadClass,
    prompt_tokens: int,
    excluded: set[int],
    asks: dict[str, object],
    prefix_blocks: int,
) -> None:
    """R2.25, R2.26, R2.36, R2.37."""
    replicas = [
        replica(f"n{i}", capability, **marks) for i, (capability, marks, _) in enumerate(rows)
    ]
    loads = {f"n{i}": row[2] for i, row in enumerate(rows)}
    asked = request(
        operation=operation,
        workload_class=workload_class,
        prompt_tokens_min=prompt_tokens,
        excluded=tuple(r for i, r in enumerate(replicas) if i in excluded),
        prefix=PROMPT[:prefix_blocks],
        **asks,
    )
    counts = operation is Operation.COUNT_TOKENS
    past_seats = WAITING_PER_REPLICA_MAX + counts * COUNTS_PER_REPLICA_MAX
    eligible = {
        f"n{i}"
        for i, (capability, marks, load) in enumerate(rows)
        if marks["healthy"]
        and not marks["suspect"]
        and not marks["cordoned"]
        and not (marks["probing"] and load)
        and i not in excluded
        and (not capability.workloads or WORKLOAD_OF_OPERATION[operation] in capability.workloads)
        and (workload_class is not WorkloadClass.VISION_CAPTION or capability.vision)
        and not (asks["tools"] and capability.tools is False)
        and (capability.context_tokens is None or prompt_tokens <= capability.context_tokens)
        and load < capability.seats + past_seats
    }
    router = Router()
    for known in replicas[:2]:  # what is known of a replica must not make it eligible
        router.memory.sent(asked, known)
    fleet = snapshot(*replicas)
    outcome = route(asked, fleet, lambda r: loads[r.neuron_id], router)
    if eligible:
        assert chosen(outcome) in eligible
    else:
        assert isinstance(outcome, Refusal)
    again = route(asked, fleet, lambda r: loads[r.neuron_id], router)
    assert again == outcome or chosen(again) == chosen(outcome)
    found = explain(asked, fleet, lambda r: loads[r.neuron_id], router)
    assert {f.neuron_id for f in found.findings if not f.filter} == eligible


@given(MANY, st.booleans())
def test_of_very_many_replicas_one_is_found_wherever_it_is(
    many: tuple[int, set[int]], by_session: bool
) -> None:
    """R2.37: only a part is looked at, but all of them before anything is refused."""
    size, usable = many
    usable = {place for place in usable if place < size}
    fleet = snapshot(*(replica(f"n{i}", healthy=i in usable) for i in range(size)))
    asked = request(session="s" if by_session else "")
    outcome = route(asked, fleet, idle)
    if usable:
        assert chosen(outcome) in {f"n{i}" for i in usable}
    else:
        assert refused(outcome).code is ErrorCode.SERVICE_UNAVAILABLE


def test_among_very_many_replicas_who_knows_the_prompt_is_found() -> None:
    fleet = snapshot(*(replica(f"n{i}") for i in range(500)))
    router = Router()
    places = [chosen(route(request(request_id=f"r{i}"), fleet, idle, router)) for i in range(50)]
    assert len(set(places)) > 20
    router.memory.prefixes.note(PROMPT, holder_of(NeuronId("n77"), 1))
    for number in range(20):
        asked = request(request_id=f"r{number}", prefix=PROMPT)
        outcome = route(asked, fleet, idle, router)
        assert chosen(outcome) == "n77"
        assert isinstance(outcome, RoutingDecision)
        assert outcome.reason == "prefix"


def test_a_replica_on_probation_gets_one_request_at_a_time() -> None:
    fleet = snapshot(replica("a", probing=True), replica("b"))
    assert chosen(route(request(), fleet, lambda r: 0 if r.neuron_id == "a" else 1)) == "a"
    assert chosen(route(request(), fleet, lambda r: 1 if r.neuron_id == "a" else 5)) == "b"


def test_an_explanation_tells_of_neurons_where_the_model_is_not_loaded() -> None:
    states = MappingProxyType({NeuronId("a"): ModelState.LOADED, NeuronId("b"): ModelState.LOADING})
    view = ModelView(config=model("m"), replicas=(replica("a"),), states=states)
    found = explain(request(), snapshot(view=view), idle)
    assert found.reason == "only"
    assert [(f.neuron_id, f.filter, f.because) for f in found.findings] == [
        ("a", "", ""), ("b", "state", "the model is loading there"),
    ]  # fmt: skip
