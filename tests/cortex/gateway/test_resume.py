"""A stream that is cut anywhere goes on elsewhere: nothing is lost, nothing is said twice."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helexa.cortex.gateway import resume
from helexa.cortex.gateway.resume import (
    Continuation,
    Ending,
    KeptBytes,
    KeptStream,
    SoFar,
    continuation,
    read_so_far,
)
from helexa.model_runtime.echo_answer import Answer, Faults, read_prompt
from helexa.model_runtime.echo_text import expected_text
from helexa.model_runtime.engines.echo import Echo
from helexa.model_runtime.engines.llamacpp import LlamaCpp
from helexa.model_runtime.interfaces import OutboundCall
from helexa.protocol.inference import Continued, Usage
from helexa.protocol.sse import DONE
from tests.fakes import llama_stream as ls
from tests.fakes.launches import inbound

ID = "req-1"
SO_FAR = SoFar("chatcmpl-1", 17, "m", "Hello, wor", 3)


def body(tokens: int | None = 12, **fields: Any) -> bytes:
    asked = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "a b c"}]}
    if tokens is not None:
        asked["max_tokens"] = tokens
    return json.dumps({**asked, **fields}).encode()


def answer(asked: bytes, continues: Continued | None = None) -> tuple[bytes, Usage]:
    """Return what a neuron with an echo engine sends for a body, and the engine's usage."""
    call = Echo().call(
        inbound(asked, stream=True, include_usage=True, request_id=ID, continues=continues)
    )
    assert isinstance(call, OutboundCall)
    prompt = read_prompt(call.body, Faults(default_tokens=12))
    assert not isinstance(prompt, str)
    said = Answer(prompt, f"{ID}", "echo", chat=True)
    raw = said.opening() + said.token_events(0, said.tokens) + said.closing()
    out, ending = ls.translate(call.translation, raw)
    assert ending.usage is not None
    return out, ending.usage


def given_to_caller(kept: KeptStream, data: bytes, size: int = 7) -> bytes:
    return b"".join(kept.take(data[at : at + size]) for at in range(0, len(data), size))


@settings(deadline=None, max_examples=300)
@given(cut=st.integers(0, 4000), size=st.integers(1, 900), bounded=st.booleans())
def test_a_stream_that_is_cut_at_any_byte_is_as_if_it_had_not_been(
    cut: int, size: int, bounded: bool
) -> None:
    """Half events, half characters, before the role, after the last token, after the finish."""
    asked = body(12 if bounded else None)
    whole, usage = answer(asked)
    assert whole.endswith(DONE)
    flow = whole.removesuffix(DONE)
    kept = KeptStream(KeptBytes())
    seen = given_to_caller(kept, flow[:cut], size)
    assert flow.startswith(seen)
    kept.drop_rest()
    so_far = read_so_far(kept.parts())
    assert so_far is not None
    step = continuation(asked, so_far)
    if isinstance(step, Ending):
        assert ls.said(seen + step.data) == expected_text(ID, 12)
        assert ls.payloads(seen + step.data)[-1]["object"] == "chat.completion.chunk"
        assert (b'"finish_reason":"length"' if bounded else b'"finish_reason":"stop"') in (
            seen + step.data
        )
        return
    assert isinstance(step, Continuation)
    rest, part = answer(step.body, step.continued)
    total = seen + kept.take(rest)
    assert ls.said(total) == expected_text(ID, 12)
    events = ls.payloads(total)
    assert [event for event in events if event == "[DONE]"] == ["[DONE]"]
    chunks = events[:-1]
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert sum("role" in delta for delta in deltas) == 1
    assert chunks[-1]["usage"]["prompt_tokens"] == usage.prompt_tokens
    assert chunks[-1]["usage"]["completion_tokens"] == 12
    assert step.continued is None or step.continued.whole(part) == usage


def test_a_stream_may_be_cut_again_and_again() -> None:
    asked, seen = body(12), b""
    kept = KeptStream(KeptBytes())
    step: Any = Continuation(asked, None)
    for _ in range(4):
        flow, _ = answer(step.body, step.continued)
        seen += kept.take(flow[: len(flow) // 3])
        kept.drop_rest()
        so_far = read_so_far(kept.parts())
        assert so_far is not None
        step = continuation(asked, so_far)
        assert isinstance(step, Continuation)
    flow, _ = answer(step.body, step.continued)
    assert ls.said(seen + flow) == expected_text(ID, 12)


@pytest.mark.parametrize("echoed", [True, False])
@pytest.mark.parametrize(
    ("said", "rest"),
    [
        ("One ", "19th-century"),
        ("One  ", " two"),
        ("tas", "king"),
        ("line\n\n", "next"),
        ("    if x:\n       ", " return"),
        ("é🙂", " ok"),
        ("x " * 120, "y"),
        ("  ", "indented"),
    ],
)
def test_llama_cpp_is_told_the_text_as_it_is_and_goes_on_from_there(
    said: str, rest: str, echoed: bool
) -> None:
    """It cuts the same text into the same tokens; what it repeats is not told twice."""
    so_far = SoFar("chatcmpl-first", 17, "smol", said, 4)
    asked = body(40, model="smol")
    step = continuation(asked, so_far)
    assert isinstance(step, Continuation)
    call = LlamaCpp().call(inbound(step.body, stream=True, continues=step.continued))
    assert isinstance(call, OutboundCall)
    sent = json.loads(call.body)
    assert sent["max_tokens"] == 36
    assert sent["messages"][-1] == {"role": "assistant", "content": said}
    first = (said if echoed else "") + rest[:1]
    flow = ls.role() + ls.delta(content=first, logprobs=[rest[:1]]) + ls.delta(content=rest[1:])
    out, _ = ls.translate(call.translation, flow + ls.finish() + ls.DONE)
    assert ls.said(out) == rest
    chunks = ls.payloads(out)[:-1]
    assert {(chunk["id"], chunk["created"]) for chunk in chunks} == {("chatcmpl-first", 17)}
    assert b'"role"' not in out
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


# ── how many tokens there were ────────────────────────────────────────────────────────────────


def test_a_chunk_of_several_tokens_counts_as_many_when_the_stream_goes_on() -> None:
    """One emoji is three tokens and one chunk: the bound and the bill go by the engine's count."""
    asked = body(12, stream_options={"include_usage": True})
    call = LlamaCpp().call(inbound(asked, stream=True, include_usage=True))
    assert isinstance(call, OutboundCall)
    assert json.loads(call.body)["timings_per_token"] is True
    said = b"".join(
        ls.delta(content="🦄", timings=ls.timings(prompt_n=20, cache_n=5, predicted_n=count))
        for count in (3, 6, 7)
    )
    call.translation.on_head(200, {})
    kept = KeptStream(KeptBytes())
    seen = kept.take(call.translation.on_data(ls.role() + said))
    so_far = read_so_far(kept.parts())
    assert so_far is not None
    assert (so_far.text, so_far.tokens) == ("🦄🦄🦄", 7)
    step = continuation(asked, so_far, include_usage=True)
    assert isinstance(step, Continuation)
    assert json.loads(step.body)["max_tokens"] == 5
    again = LlamaCpp().call(
        inbound(step.body, stream=True, include_usage=True, continues=step.continued)
    )
    assert isinstance(again, OutboundCall)
    flow = b"".join(
        ls.delta(content="é", timings=ls.timings(prompt_n=31, cache_n=0, predicted_n=count))
        for count in (2, 4)
    )
    rest, ending = ls.translate(
        again.translation, flow + ls.finish(prompt_n=31, cache_n=0, predicted_n=5) + ls.DONE
    )
    assert ls.said(seen + rest) == "🦄🦄🦄éé"
    usage = ls.payloads(rest)[-2]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (25, 12)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 5}
    assert ending.usage is not None
    assert step.continued is not None
    whole = Usage(prompt_tokens=25, completion_tokens=12, cached_tokens=5)
    assert step.continued.whole(ending.usage) == whole
    kept.take(rest.removesuffix(DONE))
    told = read_so_far(kept.parts())
    assert told is not None
    assert (told.usage, told.usage_told) == (whole, True)


@pytest.mark.parametrize(
    ("parts", "tokens"),
    [
        ([ls.delta(content="a"), b": tokens 9 5 0\n\n"], 5),
        ([ls.delta(content="a"), b": tokens 9 5 0\n\n", ls.delta(content="b")], 6),
        ([ls.role(), b": tokens 9 5 0\n\n", b": tokens 9 7 2\n\n"], 7),
        ([ls.delta(content="a"), b": tokens 9 five 0\n\n"], 1),
    ],
)
def test_tokens_are_what_was_last_told_and_the_pieces_since(
    parts: list[bytes], tokens: int
) -> None:
    so_far = read_so_far(parts)
    assert so_far is not None
    assert so_far.tokens == tokens


@pytest.mark.parametrize(("asks", "told"), [(True, True), (False, False)])
def test_a_stream_that_is_ended_here_has_the_usage_frame_that_was_asked_for(
    asks: bool, told: bool
) -> None:
    so_far = read_so_far([ls.delta(content="ab"), b": tokens 25 7 5\n\n"])
    assert so_far is not None
    step = continuation(body(7), so_far, include_usage=asks)
    assert isinstance(step, Ending)
    assert step.usage == Usage(prompt_tokens=25, completion_tokens=7, cached_tokens=5)
    assert step.finish_reason == "length"
    chunks = ls.payloads(step.data)
    assert chunks[0]["choices"][0]["finish_reason"] == "length"
    assert len(chunks) == 1 + told
    if told:
        assert (chunks[1]["id"], chunks[1]["choices"]) == (chunks[0]["id"], [])
        assert chunks[1]["usage"] == {
            "prompt_tokens": 25, "completion_tokens": 7, "total_tokens": 32,
            "prompt_tokens_details": {"cached_tokens": 5},
        }  # fmt: skip


def test_a_usage_frame_is_not_told_twice_and_not_made_up() -> None:
    """A wrong bill is worse than none: without the prompt's tokens there is no frame."""
    frame = ls.chunk([], usage={"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6})
    parts = [ls.delta(content="ab"), ls.finish(), frame]
    whole = read_so_far(parts)
    assert whole is not None
    told = Usage(prompt_tokens=4, completion_tokens=2)
    assert continuation(body(9), whole, include_usage=True) == Ending(b"", "length", told)
    unknown = read_so_far(parts[:2])
    assert unknown is not None
    assert continuation(body(9), unknown, include_usage=True) == Ending(b"", "length", None)


# ── what is kept ──────────────────────────────────────────────────────────────────────────────


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_only_whole_events_are_given_and_no_byte_is_lost(data: bytes, cuts: list[int]) -> None:
    flow = data.replace(b"\xff", b"\n\n")
    kept = KeptStream(KeptBytes())
    places = [0, *sorted(min(cut, len(flow)) for cut in cuts), len(flow)]
    seen = b"".join(kept.take(flow[a:b]) for a, b in pairwise(places))
    assert seen + kept.rest == flow
    assert seen == b"" or seen.endswith(b"\n\n")
    assert b"\n\n" not in kept.rest


def test_a_stream_that_grows_too_long_is_not_kept_and_flows_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resume, "KEPT_BYTES_MAX", 40)
    everything = KeptBytes(1000)
    kept = KeptStream(everything)
    assert kept.take(b"a" * 30 + b"\n\nhalf") == b"a" * 30 + b"\n\n"
    assert everything.left == 968
    assert kept.take(b"-event, long") == b"half-event, long"
    assert kept.given_up
    assert everything.left == 1000
    assert kept.take(b"more") == b"more"


def test_all_streams_together_keep_no_more_than_is_allowed() -> None:
    everything = KeptBytes(100)
    first, second = KeptStream(everything), KeptStream(everything)
    event = b"x" * 58 + b"\n\n"
    assert first.take(event) == second.take(event) == event
    assert (first.given_up, second.given_up) == (False, True)
    first.close()
    first.close()
    assert everything.left == 100


# ── what is read back ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "event",
    [
        ls.delta(index=1, content="x"),
        ls.delta(tool_calls=[{"index": 0, "function": {"name": "f"}}]),
        ls.delta(reasoning_content="hm"),
        ls.delta(refusal="no"),
        ls.delta(content="x", logprobs=["x"]),
        ls.event({"error": {"message": "broken"}}),
        ls.chunk([{"index": 0, "delta": {"content": "x"}}], answer_id="another"),
        ls.chunk([{"index": 0, "delta": {}}, {"index": 0, "delta": {}}]),
        b"data: {half\n\n",
        b'data: {"choices":7}\n\n',
        b"data: " + b"[" * 50_000 + b"\n\n",
        b"data: \xff\n\n",
    ],
)
def test_what_is_not_plain_text_is_not_continued(event: bytes) -> None:
    assert read_so_far([ls.role(), ls.delta(content="Hi"), event]) is None


def test_what_a_caller_has_is_read_back() -> None:
    parts = [b": prefill 1/2\n\n", ls.role(), ls.delta(content="Hé"), ls.delta(content="llo")]
    assert read_so_far(parts) == SoFar("chatcmpl-7UfB", 1795401461, "smol", "Héllo", 2)
    assert read_so_far([b": only a comment\n\n"]) == SoFar()
    assert read_so_far([]) == SoFar()
    finished = read_so_far([*parts, ls.finish()])
    assert finished is not None
    assert finished.finish_reason == "length"
    assert read_so_far([*parts, ls.finish(), ls.delta(content="more")]) is None


# ── what is asked for ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
        {"response_format": "text"},
        {"n": 2},
        {"logprobs": True},
        {"top_logprobs": 3},
        {"grammar": "root ::= x"},
        {"return_token_ids": True},
        {"truncate_prompt_tokens": 100},
        {"structured_outputs": {"regex": "a"}},
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
        {"messages": []},
        {"messages": 5},
        {"messages": ["x"]},
    ],
)
def test_a_request_for_more_than_plain_text_is_not_continued(fields: dict[str, Any]) -> None:
    assert continuation(body(**fields), SO_FAR) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [], "tool_choice": "none"},
        {"tools": None, "n": 1, "logprobs": False, "response_format": {"type": "text"}},
        {"response_format": None, "n": None, "stop": ["\n"], "temperature": 0},
    ],
)
def test_fields_that_ask_for_nothing_special_do_not_matter(fields: dict[str, Any]) -> None:
    step = continuation(body(**fields), SO_FAR)
    assert isinstance(step, Continuation)
    told = json.loads(step.body)
    assert told["messages"][-1] == {"role": "assistant", "content": "Hello, wor"}
    assert {name: told[name] for name in fields} == fields


@pytest.mark.parametrize(
    ("bounds", "left"),
    [
        ({"max_tokens": 10}, {"max_tokens": 7}),
        ({"max_tokens": 10.0}, {"max_tokens": 7}),
        ({"max_tokens": 2, "max_completion_tokens": 10}, {"max_completion_tokens": 7}),
        ({"max_tokens": -1}, {"max_tokens": -1}),
        ({"max_tokens": 10, "min_tokens": 5}, {"max_tokens": 7, "min_tokens": 2}),
        ({"min_tokens": 2}, {"min_tokens": 0}),
        ({"max_completion_tokens": None, "n_predict": 4}, {"n_predict": 1}),
        ({}, {}),
    ],
)
def test_the_bound_on_new_tokens_is_less_by_what_was_said(
    bounds: dict[str, Any], left: dict[str, int]
) -> None:
    step = continuation(body(None, **bounds), SO_FAR)
    assert isinstance(step, Continuation)
    told = json.loads(step.body)
    assert {name: told[name] for name in left} == left


def test_a_stream_at_its_bound_is_ended_here() -> None:
    step = continuation(body(3), SO_FAR)
    assert isinstance(step, Ending)
    [chunk] = ls.payloads(step.data)
    assert (chunk["id"], chunk["created"], chunk["model"]) == ("chatcmpl-1", 17, "m")
    assert chunk["choices"] == [{"index": 0, "delta": {}, "finish_reason": "length"}]


def test_a_finished_stream_only_wants_its_end_mark() -> None:
    finished = SoFar("chatcmpl-1", 17, "m", "Hello", 3, "stop")
    assert continuation(body(9), finished) == Ending(b"", "stop")


def test_nothing_said_yet_sends_the_request_again_as_it_came() -> None:
    asked = body(9)
    assert continuation(asked, SoFar()) == Continuation(asked, None)
    step = continuation(asked, SoFar("chatcmpl-1", 17, "m"))
    assert step == Continuation(asked, Continued(id="chatcmpl-1", created=17, completion_tokens=0))


@pytest.mark.parametrize("asked", [b"", b"[]", b"{", b'{"messages":[{"role":7}]}', b"{}"])
def test_a_body_that_is_none_is_not_continued(asked: bytes) -> None:
    """It was checked when it came; still nothing here may raise."""
    assert continuation(asked, SO_FAR) is None
