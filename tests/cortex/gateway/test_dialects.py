"""Requests in Anthropic's dialect on their way through the gateway: words, ends, ids."""

import json
from dataclasses import replace
from types import MappingProxyType

import pytest

from helexa.cortex.gateway.metering import Outcome
from helexa.protocol.dialects.anthropic import PING, STOP
from helexa.protocol.inference import Usage
from helexa.protocol.neuron import Capabilities
from helexa.protocol.workload import Operation
from tests.fakes.gateway import Caller, Job, Settings, World, snapshot_of

START = b'event: message_start\ndata: {"type":"message_start"}\n\n'
MESSAGES = Operation.MESSAGES


def streamed(world: World) -> tuple[Job, Caller]:
    _, caller = world.ask(MESSAGES, stream=True, max_tokens=5)
    job = world.job()
    job.begin()
    return job, caller


def test_a_request_goes_to_a_neuron_as_it_came_with_its_dialect_named() -> None:
    world = World("n1")
    world.ask(MESSAGES, stream=True, max_tokens=5, metadata={"user_id": "u"})
    job = world.job()
    assert (job.head.operation, job.head.dialect, job.head.stream) == (
        Operation.CHAT, "anthropic", True,
    )  # fmt: skip
    assert json.loads(job.body)["metadata"] == {"user_id": "u"}


def test_a_count_is_a_request_of_its_own() -> None:
    world = World("n1")
    _, caller = world.ask(Operation.COUNT_TOKENS)
    assert world.job().head.operation is Operation.COUNT_TOKENS
    world.job().answer(b'{"input_tokens":3}')
    assert json.loads(caller.body) == {"input_tokens": 3}
    assert [record.operation for record in world.records] == [Operation.COUNT_TOKENS]


def test_a_count_does_not_wait_for_those_who_need_a_seat() -> None:
    world = World("n1", settings=Settings(requests_in_flight_max=99))
    for _ in range(8):
        world.ask()
    assert world.pipeline.waiting() == {"m": 2}
    world.ask(Operation.COUNT_TOKENS)
    assert world.job().head.operation is Operation.COUNT_TOKENS
    assert world.pipeline.waiting() == {"m": 2}


def test_a_chat_names_no_dialect() -> None:
    world = World("n1")
    _, caller = world.ask()
    assert world.job().head.dialect == "openai"
    world.job().answer(b"{}")
    assert "\r\nrequest-id:" not in caller.text


def test_the_end_of_a_stream_is_said_after_it_was_booked() -> None:
    world = World("n1")
    job, caller = streamed(world)
    job.say(START)
    job.say(STOP)
    assert caller.body == START
    assert not world.records
    job.end(usage=Usage(prompt_tokens=1, completion_tokens=2))
    assert caller.body == START + STOP
    assert caller.complete
    assert [record.operation for record in world.records] == [MESSAGES]
    assert world.records[0].trailer is not None


def test_a_response_is_completed_after_it_was_booked() -> None:
    world = World("n1")
    _, caller = world.ask(Operation.RESPONSES, stream=True, input="hi")
    job = world.job()
    assert (job.head.operation, job.head.dialect) == (Operation.CHAT, "responses")
    job.begin()
    first = b"event: response.output_item.done\ndata: {}\n\n"
    last = b"event: response.completed\ndata: {}\n\ndata: [DONE]\n\n"
    job.say(first + last)
    assert caller.body == first
    assert not world.records
    job.end()
    assert caller.body == first + last
    assert [record.operation for record in world.records] == [Operation.RESPONSES]


def test_every_answer_carries_the_id_in_anthropics_header() -> None:
    world = World("n1")
    _, whole = world.ask(MESSAGES, max_tokens=5)
    world.job().answer(b"{}")
    _, missing = world.ask(MESSAGES, max_tokens=5, model="nobody")
    _, wrong = world.ask(MESSAGES)
    _, stream = streamed(world)
    for caller in (whole, missing, wrong, stream):
        assert caller.text.count("\r\nrequest-id: req-1\r\n") == 1
        assert caller.text.count("\r\nx-request-id: req-1\r\n") == 1


def test_a_sign_of_life_is_an_event_beside_the_comment() -> None:
    """Lesson 13: client idle timers count events, not comments."""
    world = World("n1")
    _, caller = world.ask(MESSAGES, stream=True, max_tokens=5)
    world.later(world.settings.commit_after_s)
    assert caller.body == b": keep-alive\n\n" + PING
    world.later(world.settings.keepalive_interval_s)
    assert caller.body.endswith(PING)


@pytest.mark.parametrize("committed", [False, True])
def test_a_neuron_that_dies_is_an_error_in_the_dialect_and_a_cut(committed: bool) -> None:
    """Lesson 17: never a message_stop."""
    world = World("n1")
    _, caller = world.ask(MESSAGES, stream=True, max_tokens=5)
    if committed:
        world.job().begin()
        world.job().say(START)
    world.neurons["n1"].die()
    assert caller.error["type"] == "api_error"
    if not committed:
        assert caller.status == 502
        return
    assert (caller.cut_off, caller.complete) == (True, False)
    assert b"event: error\n" in caller.body
    assert b"message_stop" not in caller.body


def test_a_stream_that_breaks_between_its_last_event_and_its_end_is_whole() -> None:
    world = World("n1")
    job, caller = streamed(world)
    job.say(START + STOP)
    world.neurons["n1"].die()
    assert caller.body == START + STOP
    assert caller.complete


def test_a_late_refusal_of_the_neuron_is_an_error_event() -> None:
    world = World("n1")
    _, caller = world.ask(MESSAGES, stream=True, max_tokens=5)
    world.later(world.settings.commit_after_s)
    refusal = b'{"type":"error","error":{"type":"invalid_request_error","message":"no"}}'
    world.job().answer(refusal, status=400)
    assert caller.body.endswith(b"event: error\ndata: " + refusal + b"\n\n")
    assert caller.cut_off


def test_a_request_that_nobody_has_begun_is_tried_elsewhere() -> None:
    world = World("n1", "n2")
    _, caller = world.ask(MESSAGES, max_tokens=5)
    (first,) = [job for neuron in world.neurons.values() for job in neuron.jobs]
    first.give_up("upstream_connection_error", retry_elsewhere=True)
    world.carry()
    (second,) = [
        job for neuron in world.neurons.values() for job in neuron.jobs if job is not first
    ]
    second.answer(b'{"type":"message"}')
    assert caller.status == 200
    assert second.head.dialect == "anthropic"


def test_too_much_work_is_429_with_retry_after_and_a_loading_model_529() -> None:
    world = World("n1", settings=Settings(requests_in_flight_max=1, hold_for_load_s=0))
    world.ask(MESSAGES, max_tokens=5)
    _, full = world.ask(MESSAGES, max_tokens=5)
    assert (full.status, full.error["type"]) == (429, "rate_limit_error")
    assert "\r\nretry-after: " in full.text
    loading = World(settings=Settings(hold_for_load_s=0))
    loading.snapshot = snapshot_of(loading=True)
    _, caller = loading.ask(MESSAGES, max_tokens=5)
    assert (caller.status, caller.error["type"]) == (529, "overloaded_error")
    assert "\r\nretry-after: " in caller.text
    assert [(record.status, record.outcome) for record in loading.records] == [
        (529, Outcome.REJECTED)
    ]


def test_a_neuron_that_does_not_know_the_dialect_never_gets_it() -> None:
    """An older neuron tells no dialects; it would not even understand the head."""
    world = World("n1", "n2")
    ((model_id, view),) = world.snapshot.models.items()
    first, second = view.replicas
    old = replace(first, dialects=Capabilities.__struct_defaults__[0])
    mixed = replace(view, replicas=(old, second))
    world.snapshot = replace(world.snapshot, models=MappingProxyType({model_id: mixed}), memo={})
    for _ in range(3):
        world.ask(MESSAGES, max_tokens=5)
    assert [len(neuron.jobs) for neuron in world.neurons.values()] == [0, 3]
    alone = replace(view, replicas=(old,))
    world.snapshot = replace(world.snapshot, models=MappingProxyType({model_id: alone}), memo={})
    _, caller = world.ask(MESSAGES, max_tokens=5)
    assert (caller.status, caller.error["type"]) == (400, "invalid_request_error")
    assert "/v1/chat/completions" in caller.error["message"]
    _, chat = world.ask()
    assert world.job().head.dialect == "openai"
    assert not chat.text
