"""What a stream tells of its tokens, and the counts of an engine that its caller does not get."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.model_runtime.engines.stream import AnswerPlan, StreamTranslation
from helexa.model_runtime.engines.told_count import without_report
from helexa.protocol.inference import Continued
from tests.fakes import llama_stream as ls

CHUNK = (
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"\\u00e9 {"}}],'
    b'"created":1795793864,"id":"chatcmpl-d2","model":"m","object":"chat.completion.chunk"'
)
TIMINGS = b',"timings":{"cache_n":0,"prompt_n":50,"prompt_ms":600.073,"predicted_n":3}}\n\n'
USAGE = (
    b',"usage":{"prompt_tokens":12,"total_tokens":15,"completion_tokens":3,'
    b'"prompt_tokens_details":{"cached_tokens":4}}}\n\n'
)


def counted(piece: str, tokens: int) -> bytes:
    return ls.delta(content=piece, timings=ls.timings(predicted_n=tokens))


def told(data: bytes, **plan: object) -> bytes:
    translation = StreamTranslation(AnswerPlan(chat=True, tells_count=True, **plan))  # type: ignore[arg-type]
    translation.on_head(200, {})
    return translation.on_data(data)


@pytest.mark.parametrize("report", [TIMINGS, USAGE])
def test_a_report_is_cut_off_and_every_other_byte_stays(report: bytes) -> None:
    assert without_report(CHUNK + report) == CHUNK + b"}\n\n"
    assert told(CHUNK + report).startswith(CHUNK + b"}\n\n")


@given(st.text(), st.integers(0, 1 << 40))
def test_whatever_is_said_a_report_is_cut_where_it_begins(text: str, tokens: int) -> None:
    event = counted(text, tokens)
    bare = without_report(event)
    assert bare is not None
    assert bare == ls.delta(content=text)


@pytest.mark.parametrize(
    "event",
    [
        CHUNK + b"}\n\n",
        CHUNK + TIMINGS[:-3] + b',"more":1}\n\n',
        CHUNK + b',"x":{"usage":{"a":1}}}\n\n',
        CHUNK + b',"usage":null}\n\n',
        b'data: {"choices":[{"delta":{"content":",\\"usage\\":{"}}]}\n\n',
        b"",
    ],
)
def test_what_is_no_report_at_the_end_is_left_alone(event: bytes) -> None:
    assert without_report(event) is None


def test_a_report_that_is_not_at_the_end_does_not_reach_callers_either() -> None:
    event = CHUNK + TIMINGS[:-3] + b',"more":1}\n\n'
    [chunk] = ls.payloads(told(event).partition(b": tokens")[0])
    assert "timings" not in chunk
    assert chunk["more"] == 1


def test_chunks_of_one_token_each_need_no_word_about_them() -> None:
    out = told(counted("a", 1) + counted("b", 2) + counted("c", 3))
    assert out == ls.delta(content="a") + ls.delta(content="b") + ls.delta(content="c")


def test_a_chunk_of_several_tokens_is_followed_by_the_count() -> None:
    out = told(counted("a", 1) + counted("🦄", 4) + counted("b", 5))
    pieces = [ls.delta(content=piece) for piece in ("a", "🦄", "b")]
    assert out == pieces[0] + pieces[1] + b": tokens 32 4 24\n\n" + pieces[2]


def test_a_token_that_ends_the_answer_without_a_word_is_counted() -> None:
    data = counted("a", 1) + ls.finish(reason="stop", predicted_n=2)
    assert told(data).endswith(b"}\n\n: tokens 32 2 24\n\n")


def test_the_prompts_tokens_are_told_once_to_a_stream_whose_caller_wants_its_usage() -> None:
    out = told(counted("a", 1) + counted("b", 2), include_usage=True)
    assert out == ls.delta(content="a") + b": tokens 32 1 24\n\n" + ls.delta(content="b")


@pytest.mark.parametrize(("prompt", "tells"), [(20, False), (None, True)])
def test_a_stream_that_goes_on_is_counted_from_its_beginning(
    prompt: int | None, tells: bool
) -> None:
    continued = Continued(
        id="first", created=7, completion_tokens=6, prompt_tokens=prompt, cached_tokens=3
    )
    out = told(counted("a", 1), include_usage=True, continues=continued)
    assert (b": tokens " in out) is tells
    later = told(counted("🦄", 3), continues=continued)
    counts = b": tokens 20 9 3\n\n" if prompt is not None else b": tokens 26 9 24\n\n"
    assert later.endswith(counts)


def test_an_engine_that_reports_nothing_is_believed_to_say_a_token_at_a_time() -> None:
    odd = ls.delta(content="a").replace(b"data: ", b"data:  ")
    assert told(odd * 3) == odd * 3


def test_the_counts_of_vllm_are_those_of_its_usage() -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 0, "total_tokens": 12}
    first = ls.chunk(
        [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
        usage=usage,
    )
    text = ls.chunk(
        [{"index": 0, "delta": {"content": "Hi there"}, "finish_reason": None}],
        usage={**usage, "completion_tokens": 2},
    )
    out = told(first + text, include_usage=True)
    assert [chunk.get("usage") for chunk in ls.payloads(out)] == [None, None]
    assert out.count(b": tokens") == 2
    assert b'""}' in out.partition(b": tokens 12 0 0\n\n")[0]
    assert out.endswith(b": tokens 12 2 0\n\n")
    assert json.loads(out.split(b"data: ")[2].partition(b"\n")[0])["choices"]
