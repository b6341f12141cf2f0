import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.model_runtime.engines.stream import (
    HELD_BYTES_MAX,
    AnswerPlan,
    StreamTranslation,
)
from helexa.protocol.errors import ErrorCode
from helexa.protocol.inference import Usage
from tests.fakes import llama_stream as ls

LONG = "All work and no play makes Jack a dull boy. " * 5


def run(data, plan=None, **how):
    return ls.translate(StreamTranslation(plan or AnswerPlan(chat=True)), data, **how)


def test_the_caller_sees_a_clean_stream():
    out, ending = run(ls.chat("Hi", " there"))
    assert ending.failure is None
    assert ending.usage == Usage(prompt_tokens=32, completion_tokens=2, cached_tokens=24)
    assert ending.finish_reason == "length"
    assert out.endswith(ls.DONE)
    assert b"timings" not in out
    assert b"prompt_progress" not in out
    assert ls.payloads(out)[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert ls.said(out) == "Hi there"


def test_an_event_without_anything_to_change_passes_as_it_came():
    piece = ls.delta(content='  ﬀ 🙂 " \\ ')
    out, _ = run(piece + ls.finish() + ls.DONE)
    assert piece in out


def test_usage_is_always_counted_but_told_only_on_request():
    """Lessons 14 and S34."""
    asked, ending = run(ls.chat("Hi"), AnswerPlan(chat=True, include_usage=True))
    told = ls.payloads(asked)[-2]
    assert told["choices"] == []
    assert told["usage"] == {
        "prompt_tokens": 32,
        "completion_tokens": 1,
        "total_tokens": 33,
        "prompt_tokens_details": {"cached_tokens": 24},
    }
    assert (told["id"], told["object"]) == ("chatcmpl-7UfB", "chat.completion.chunk")
    unasked, other = run(ls.chat("Hi"))
    assert b'"usage"' not in unasked
    assert other.usage == ending.usage


def test_the_last_events_come_with_the_ending_so_that_booking_goes_first():
    translation = StreamTranslation(AnswerPlan(chat=True))
    translation.on_head(200, {})
    assert ls.DONE not in translation.on_data(ls.chat("Hi"))
    assert translation.on_end(complete=True).data == ls.DONE


def test_an_engines_own_usage_frame_is_swallowed_and_counted():
    frame = ls.chunk([], usage={"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6})
    end = ls.chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    out, ending = run(ls.delta(content="x") + end + frame + ls.DONE)
    assert b"usage" not in out
    assert ending.usage == Usage(prompt_tokens=5, completion_tokens=1)


def test_no_status_is_committed_before_the_first_token():
    translation = StreamTranslation(AnswerPlan(chat=True))
    translation.on_head(200, {})
    assert translation.on_data(ls.progress(0) + ls.progress(8000) + ls.role()) == b""
    assert translation.head is None
    assert not translation.produced
    first = translation.on_data(ls.delta(content="x"))
    assert translation.head.content_type == "text/event-stream"
    assert translation.produced
    assert ls.payloads(first)[0]["choices"][0]["delta"]["role"] == "assistant"


def test_a_long_prefill_becomes_comments_after_two_seconds():
    translation = StreamTranslation(AnswerPlan(chat=True))
    translation.on_head(200, {})
    assert translation.on_data(ls.progress(512, 8000, time_ms=1999)) == b""
    assert translation.on_data(ls.progress(1024, 8000, time_ms=2500)) == b": prefill 1024/8000\n\n"
    assert translation.head is not None
    assert not translation.produced


def test_held_events_are_bounded():
    translation = StreamTranslation(AnswerPlan(chat=True))
    translation.on_head(200, {})
    role = ls.role()
    sent = 0
    while translation.head is None:
        translation.on_data(role)
        sent += len(role)
        assert sent < 2 * HELD_BYTES_MAX


def test_an_empty_answer_is_still_an_answer():
    out, ending = run(ls.role() + ls.finish(reason="stop", predicted_n=0) + ls.DONE)
    assert ending.failure is None
    assert ending.finish_reason == "stop"
    assert out.endswith(ls.DONE)


def test_reasoning_goes_out_as_reasoning_content():
    """Lesson 13."""
    data = ls.delta(reasoning="hm") + ls.delta(reasoning_content="well") + ls.finish() + ls.DONE
    out, _ = run(data)
    deltas = [one["choices"][0]["delta"] for one in ls.payloads(out)[:2]]
    assert deltas == [{"reasoning_content": "hm"}, {"reasoning_content": "well"}]


def test_an_echoed_prefix_is_stripped_to_the_character():
    data = ls.role() + ls.delta(content=LONG + "🙂é and") + ls.delta(content=" so") + ls.finish()
    out, _ = run(data + ls.DONE, AnswerPlan(chat=True, prefix=LONG))
    assert ls.said(out) == "🙂é and so"


def test_a_prefix_alone_in_its_piece_leaves_nothing():
    data = ls.delta(content=LONG) + ls.delta(content="new") + ls.finish() + ls.DONE
    out, _ = run(data, AnswerPlan(chat=True, prefix=LONG))
    assert ls.said(out) == "new"
    assert b'"content":""' not in out


def test_logprobs_that_only_we_asked_for_are_taken_out():
    plan = AnswerPlan(chat=True, prefix="1", hide_logprobs=True)
    data = ls.delta(content="10", logprobs=["0"]) + ls.finish() + ls.DONE
    out, _ = run(data, plan)
    assert ls.said(out) == "0"
    assert b"logprobs" not in out


def test_each_choice_of_several_is_translated():
    data = (
        ls.role(0) + ls.role(1) + ls.delta(0, content="a") + ls.delta(1, content="b")
        + ls.finish(1, prompt_n=1, cache_n=31) + ls.delta(0, content="c")
        + ls.finish(0, prompt_n=32, cache_n=0) + ls.DONE
    )  # fmt: skip
    out, ending = run(data, AnswerPlan(chat=True, choices_per_prompt=2))
    assert (ls.said(out, 0), ls.said(out, 1)) == ("ac", "b")
    assert ending.usage == Usage(prompt_tokens=32, completion_tokens=6)


def test_a_completion_is_cleaned_too():
    data = (
        ls.text("", prompt_progress=ls.PROGRESS)
        + ls.text(" a", logprobs={"content": [{"token": " a", "logprob": -1.0}]})
        + ls.text("", reason="length", usage={"prompt_tokens": 9}, timings=ls.timings(2, 1, 0))
        + ls.DONE
    )
    plan = AnswerPlan(chat=False, include_usage=True, legacy_logprobs=True)
    out, ending = run(data, plan)
    first, last, usage, _ = ls.payloads(out)
    assert first["choices"][0]["logprobs"]["tokens"] == [" a"]
    assert "usage" not in last
    assert last["choices"][0]["finish_reason"] == "length"
    assert usage["object"] == "text_completion"
    assert ending.usage == Usage(prompt_tokens=2, completion_tokens=1)


def test_a_broken_answer_says_what_was_generated_and_never_looks_finished():
    whole = ls.chat("Hi", " there")
    out, ending = run(whole[: whole.index(b'"finish_reason":"length"')], complete=False)
    assert ending.failure.code is ErrorCode.UPSTREAM_CONNECTION_ERROR
    assert ending.usage == Usage(prompt_tokens=32, completion_tokens=2)
    assert b"[DONE]" not in out


def test_bytes_before_garbage_are_kept_and_none_after_it():
    translation = StreamTranslation(AnswerPlan(chat=True))
    translation.on_head(200, {})
    out = translation.on_data(ls.delta(content="good") + b"data: {x\n\n" + ls.delta(content="bad"))
    assert ls.said(out) == "good"
    assert translation.failure.code is ErrorCode.ENGINE_GARBAGE
    assert translation.on_data(ls.delta(content="more")) == b""
    assert translation.on_end(complete=True).data == b""


def test_an_error_status_is_a_failure_and_no_bytes():
    body = b'{"error":{"code":400,"message":"\'messages\' is required"}}'
    out, ending = run(body, status=400)
    assert out == b""
    assert ending.failure.code is ErrorCode.INVALID_REQUEST_BODY
    assert ending.usage is None


def test_an_error_body_is_bounded():
    translation = StreamTranslation(AnswerPlan(chat=True))
    translation.on_head(500, {})
    for _ in range(100):
        assert translation.on_data(b"x" * 65536) == b""
    assert len(translation._error_body) == 65536
    assert translation.on_end(complete=True).failure.code is ErrorCode.INTERNAL_ERROR


WHOLE = ls.progress(512, time_ms=2500) + ls.chat("Hi", " é", "🙂", ' "quoted" \\ ').replace(
    ls.progress(32, 32), b""
)


@given(st.lists(st.integers(1, len(WHOLE) - 1), max_size=30))
def test_any_split_of_the_same_bytes_gives_the_same_answer(cuts):
    expected, expected_ending = run(WHOLE, AnswerPlan(chat=True, include_usage=True))
    translation = StreamTranslation(AnswerPlan(chat=True, include_usage=True))
    translation.on_head(200, {})
    edges = [0, *sorted(set(cuts)), len(WHOLE)]
    out = b"".join(
        translation.on_data(WHOLE[start:end]) for start, end in zip(edges, edges[1:], strict=False)
    )
    ending = translation.on_end(complete=True)
    assert out + ending.data == expected
    assert (ending.usage, ending.failure) == (expected_ending.usage, None)


@pytest.mark.parametrize("newline", [b"\r\n"])
def test_lines_that_end_in_crlf_are_lines(newline):
    out, ending = run(ls.chat("Hi").replace(b"\n", newline), size=1)
    assert ending.failure is None
    assert ls.said(out) == "Hi"
