import pytest

from helexa.model_runtime.engines.counting import TokenCounter
from helexa.model_runtime.engines.reader import EVENT_BYTES_MAX, ChunkReader
from helexa.protocol.errors import ErrorCode
from tests.fakes import llama_stream as ls


def read(data, *, complete=True):
    reader = ChunkReader(TokenCounter())
    events = [event for event, _ in reader.read(data)]
    failure = reader.close(complete=complete)
    return reader, events, failure


def test_a_whole_answer_is_whole():
    reader, events, failure = read(ls.chat("Hi", " there"))
    assert failure is None
    assert reader.done
    assert reader.produced
    assert reader.finish_reason == "length"
    assert len(events) == 5
    assert reader.counter.pieces == 2
    assert reader.counter.prompt_tokens_seen == 32


GARBAGE = {
    "invalid UTF-8": b'data: {"id":"a","choices":[{"delta":{"content":"\xff"}}]}\n\n',
    "half JSON": b'data: {"choices":[{"del\n\n',
    "a wrong shape": b'data: {"choices":{"delta":7}}\n\n',
    "a bare word": b"data: hello\n\n",
    "deep nesting": b'data: {"choices":' + b"[" * 100_000 + b"\n\n",
    "an endless line": b"data: " + b"x" * (EVENT_BYTES_MAX + 100),
    "somebody else's answer": ls.delta(content="a") + ls.chunk([], answer_id="chatcmpl-other"),
    "words after the finish": ls.finish() + ls.delta(content="more"),
    "a doubled finish": ls.finish() + ls.finish(),
    "an absurd choice": ls.delta(index=99999, content="x"),
    "a negative choice": ls.delta(index=-1, content="x"),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_fails_the_answer(what):
    """F07"""
    reader, _, failure = read(GARBAGE[what] + ls.DONE)
    assert failure is not None
    assert failure.code is ErrorCode.ENGINE_GARBAGE
    assert failure.blames_engine
    assert list(reader.read(ls.DONE)) == []


def test_what_came_before_garbage_was_read():
    _, events, failure = read(ls.delta(content="good") + GARBAGE["half JSON"])
    assert len(events) == 1
    assert failure is not None


def test_an_answer_without_its_end_mark_is_never_whole():
    no_end = ls.chat("Hi").removesuffix(ls.DONE)
    assert read(no_end)[2].code is ErrorCode.ENGINE_CRASH
    assert read(no_end, complete=False)[2].code is ErrorCode.UPSTREAM_CONNECTION_ERROR
    assert read(b"")[2].code is ErrorCode.ENGINE_CRASH


def test_an_end_mark_without_a_finish_is_not_whole():
    assert read(ls.delta(content="x") + ls.DONE)[2].code is ErrorCode.ENGINE_GARBAGE
    assert read(ls.DONE)[2].code is ErrorCode.ENGINE_GARBAGE
    one_of_two = ls.delta(content="x") + ls.delta(1, content="y") + ls.finish(0) + ls.DONE
    assert read(one_of_two)[2].code is ErrorCode.ENGINE_GARBAGE


def test_what_follows_the_end_mark_is_ignored():
    assert read(ls.chat("Hi") + b"data: {trash\n\n")[2] is None


def test_a_cut_after_the_end_mark_does_no_harm():
    assert read(ls.chat("Hi"), complete=False)[2] is None


def test_an_error_event_ends_the_answer_with_its_meaning():
    error = ls.event({"error": {"code": 500, "message": "Context size has been exceeded."}})
    failure = read(ls.delta(content="x") + error)[2]
    assert failure.code is ErrorCode.CONTEXT_LENGTH_EXCEEDED
    assert not failure.blames_engine


def test_the_error_line_of_old_builds_is_understood():
    old = b'error: {"code":500,"message":"boom","type":"server_error"}\n\n'
    assert read(old)[2].code is ErrorCode.INTERNAL_ERROR


def test_comments_and_pings_are_not_part_of_an_answer():
    assert read(b": ping\n\nevent: x\n\n" + ls.chat("Hi"))[2] is None
