"""A request in a dialect reaches its engine as a chat, and every ending is told in the dialect."""

import json

import pytest

from helexa.model_runtime.engines.passthrough import PassThrough
from helexa.model_runtime.interfaces import Ending, Failure
from helexa.neuron.runtime.interpreted import WHOLE_BYTES_MAX, Interpreted
from helexa.protocol.dialects.anthropic import STOP
from helexa.protocol.dialects.anthropic_answer import AnthropicInterpreter
from helexa.protocol.errors import ErrorCode
from helexa.protocol.inference import ResponseHead, Usage
from helexa.protocol.workload import Operation
from tests.fakes.engine_server import LAST_CHUNK, answer, chunk, chunked_head
from tests.fakes.exchange_log import until
from tests.fakes.executor_world import DONE, once, replies, world

ASKED = json.dumps({"max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}).encode()
TOKEN = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"token"}}]}\n\n'
FINISH = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
WHOLE = b'{"id":"c","choices":[{"message":{"content":"token"},"finish_reason":"stop"}]}'


def open_one(made, body=ASKED, **fields):
    return made.open(body, dialect="anthropic", **fields)


async def test_a_stream_is_told_as_the_dialects_events_and_booked_as_ever():
    pieces = (chunk(TOKEN), chunk(FINISH), chunk(DONE), LAST_CHUNK)
    async with world(replies(chunked_head(), *pieces)) as made:
        log = await open_one(made, stream=True).ended()
        assert json.loads(made.server.requests[0].body)["messages"][0]["content"] == "hi"
        assert log.head.content_type == "text/event-stream"
        assert log.data.startswith(b"event: message_start\n")
        assert log.data.endswith(STOP)
        assert b"[DONE]" not in log.data
        assert log.trailer.usage == Usage(prompt_tokens=5, completion_tokens=7, cached_tokens=2)
        assert log.trailer.first_token_ms is not None


async def test_a_response_is_told_as_its_own_events():
    pieces = (chunk(TOKEN), chunk(FINISH), chunk(DONE), LAST_CHUNK)
    async with world(replies(chunked_head(), *pieces)) as made:
        asked = b'{"input":"hi","stream":true}'
        log = await made.open(asked, dialect="responses", stream=True).ended()
        assert log.data.startswith(b"event: response.created\n")
        assert log.data.endswith(b"data: [DONE]\n\n")
        assert b"event: response.completed\n" in log.data


async def test_an_answer_in_one_piece_is_a_message():
    async with world(replies(answer(WHOLE))) as made:
        log = await open_one(made).ended()
        told = json.loads(log.data)
        assert (log.head.status, told["type"]) == (200, "message")
        assert told["usage"]["cache_read_input_tokens"] == 2


async def test_a_stream_that_breaks_is_reset_and_never_ended():
    async with world(once(chunked_head(), chunk(TOKEN), LAST_CHUNK)) as made:
        log = await open_one(made, stream=True).ended()
        assert log.trailer is None
        assert log.reset.code == "upstream_connection_error"
        assert b"message_stop" not in log.data


async def test_words_that_are_no_chat_are_the_engines_fault():
    pieces = (chunk(TOKEN), chunk(b"data: {token\n\n"), chunk(DONE), LAST_CHUNK)
    async with world(once(chunked_head(), *pieces)) as made:
        log = await open_one(made, stream=True).ended()
        assert log.reset.code == "engine_garbage"


async def test_an_answer_that_is_no_chat_is_for_another_neuron():
    async with world(once(answer(b'{"token":1}'))) as made:
        log = await open_one(made).ended()
        assert (log.reset.code, log.reset.retry_elsewhere) == ("engine_garbage", True)


@pytest.mark.parametrize(
    ("body", "script", "message"),
    [
        (b"{}", replies(answer(b"x")), "messages"),
        (ASKED.replace(b'"hi"', b'[{"type":"text"}]'), replies(answer(b"x")), "content[0]"),
        (ASKED, replies(b"HTTP/1.1 400 X\r\ncontent-length: 1\r\n\r\nx"), "prompt is too long"),
    ],
    ids=["no messages", "a bad block", "the engine's word"],
)
async def test_what_the_caller_did_wrong_is_told_in_the_dialect(body, script, message):
    async with world(script) as made:
        log = await open_one(made, body).ended()
        error = json.loads(log.data)
        assert (log.head.status, error["type"]) == (400, "error")
        assert error["error"]["type"] == "invalid_request_error"
        assert message in error["error"]["message"]
        assert error["request_id"] == "r1"


async def busy_unless_counting(talk):
    while True:
        request = await talk.request()
        if b"later" in request.body:
            await talk.send(chunked_head(), chunk(TOKEN))
            await talk.gone()
            return
        await talk.send(answer(b'{"input_tokens":7}'))


async def test_a_count_takes_no_seat_and_is_passed_on():
    async with world(busy_unless_counting, seats=1) as made:
        busy = open_one(made, ASKED.replace(b"hi", b"later"), stream=True, request_id="r0")
        await until(lambda: busy.data, "the only seat to be taken")
        log = await open_one(made, operation="count_tokens").ended()
        assert log.data == b'{"input_tokens":7}'
        assert made.engine.last.operation is Operation.COUNT_TOKENS
        busy.stream.reset(b"")


# ── by itself ─────────────────────────────────────────────────────────────────────────────────


class Scripted:
    """A translation that says what it is told to."""

    def __init__(self, head, ending=b""):
        self.head, self.failure, self.produced = None, None, False
        self._head, self._ending = head, ending

    def on_head(self, status, headers):
        self.head = self._head

    def on_data(self, data):
        self.produced = True
        return data

    def on_end(self, *, complete):
        failure = None if complete else Failure(ErrorCode.ENGINE_CRASH, "died")
        return Ending(self._ending, None, "stop", failure)


def around(inner, *, stream=False):
    made = Interpreted(inner, AnthropicInterpreter(Operation.MESSAGES), "r1", stream=stream)
    made.on_head(200, {})
    return made


@pytest.mark.parametrize("stream", [False, True])
def test_a_servers_own_error_keeps_its_status_and_its_time_to_wait(stream):
    head = ResponseHead(status=429, retry_after_s=7)
    made = around(Scripted(head), stream=stream)
    assert made.on_data(b'{"error":{"message":"slow down"}}') == b""
    ending = made.on_end(complete=True)
    assert (made.head.status, made.head.retry_after_s) == (429, 7)
    assert json.loads(ending.data)["error"]["type"] == "rate_limit_error"
    assert ending.failure is None


def test_a_server_that_was_asked_for_a_stream_must_give_one():
    made = around(Scripted(ResponseHead()), stream=True)
    assert made.failure is not None
    assert made.failure.code is ErrorCode.ENGINE_GARBAGE


def test_the_end_mark_may_come_with_the_last_words_or_before():
    head = ResponseHead(content_type="text/event-stream")
    for said, last in ((TOKEN + FINISH + DONE, b""), (TOKEN, FINISH + DONE)):
        made = around(Scripted(head, last), stream=True)
        out = made.on_data(said) + made.on_end(complete=True).data
        assert out.count(b"message_stop") == 2  # its name and its type
        assert out.endswith(STOP)


USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1}}\n\n'
SERVED = TOKEN + FINISH + USAGE + DONE


def served(body, status=200, content_type="text/event-stream", *, size=7, complete=True):
    """Answer as a server of OpenAI's API that is attached to, in reads of so many bytes."""
    made = Interpreted(PassThrough(), AnthropicInterpreter(Operation.MESSAGES), "r1", stream=True)
    made.on_head(status, {"content-type": content_type, "retry-after": "3"})
    out = b"".join(made.on_data(body[at : at + size]) for at in range(0, len(body), size))
    return made, out, made.on_end(complete=complete)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_server_that_is_attached_to_is_interpreted_too(size):
    made, out, ending = served(SERVED, size=size)
    assert made.failure is None
    assert (out + ending.data).endswith(STOP)
    assert b'"input_tokens":9' in ending.data
    assert ending.usage == Usage(prompt_tokens=9, completion_tokens=1)


def test_an_attached_servers_refusal_and_its_broken_streams_are_told_as_what_they_are():
    made, out, ending = served(b'{"error":{"message":"busy"}}', 429, "application/json")
    assert (made.head.status, made.head.retry_after_s, out) == (429, 3, b"")
    assert json.loads(ending.data)["error"]["message"] == "busy"
    for body in (TOKEN + b'data: {"error":{"message":"dead"}}\n\n', TOKEN):
        made, out, ending = served(body)
        assert made.failure is not None
        assert b"message_stop" not in out + ending.data


def test_a_failure_is_passed_on_untold():
    made = around(Scripted(ResponseHead(content_type="text/event-stream")), stream=True)
    made.on_data(TOKEN)
    ending = made.on_end(complete=False)
    assert ending.failure.code is ErrorCode.ENGINE_CRASH
    assert made.failure is ending.failure


def test_an_answer_in_one_piece_is_bounded():
    made = around(Scripted(ResponseHead()))
    made.on_data(b"x" * WHOLE_BYTES_MAX)
    assert made.failure is None
    made.on_data(b"x")
    assert made.failure.code is ErrorCode.ENGINE_GARBAGE
