import json

from hypothesis import given
from hypothesis import strategies as st

from helexa.model_runtime.engines.aggregate import ANSWER_BYTES_MAX, AggregateTranslation
from helexa.model_runtime.engines.stream import AnswerPlan
from helexa.protocol.errors import ErrorCode
from helexa.protocol.inference import Usage
from tests.fakes import llama_stream as ls


def run(data, plan=None, **how):
    translation = AggregateTranslation(plan or AnswerPlan(chat=True))
    out, ending = ls.translate(translation, data, **how)
    return (json.loads(out) if out else None), ending, translation


def test_a_stream_becomes_one_answer():
    answer, ending, translation = run(ls.chat("Hi", " there"))
    assert translation.head.content_type == "application/json"
    assert answer["object"] == "chat.completion"
    assert (answer["id"], answer["model"]) == ("chatcmpl-7UfB", "smol")
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hi there"},
            "logprobs": None,
            "finish_reason": "length",
        }
    ]
    assert answer["usage"]["total_tokens"] == 34
    assert ending.usage == Usage(prompt_tokens=32, completion_tokens=2, cached_tokens=24)


def test_nothing_is_told_before_the_end():
    translation = AggregateTranslation(AnswerPlan(chat=True))
    translation.on_head(200, {})
    assert translation.on_data(ls.chat("Hi")) == b""
    assert translation.head is None


def call(index=0, call_id=None, name=None, arguments=None):
    function = {"name": name, "arguments": arguments}
    return {"index": index, "id": call_id, "type": "function", "function": function}


def test_tool_calls_are_put_together_piece_by_piece():
    """Lesson 56."""
    data = (
        ls.delta(tool_calls=[call(0, "a", "weather", '{"city":')])
        + ls.delta(tool_calls=[call(1, "b", "time", "{}")])
        + ls.delta(tool_calls=[call(0, None, None, '"Sofia"}')])
        + ls.finish(reason="tool_calls")
        + ls.DONE
    )
    answer, ending, _ = run(data)
    message = answer["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "a", "type": "function",
         "function": {"name": "weather", "arguments": '{"city":"Sofia"}'}},
        {"id": "b", "type": "function", "function": {"name": "time", "arguments": "{}"}},
    ]  # fmt: skip
    assert ending.finish_reason == "tool_calls"


def test_reasoning_and_refusals_are_kept_apart_from_content():
    data = (
        ls.delta(reasoning_content="hm ") + ls.delta(reasoning="so")
        + ls.delta(content="4") + ls.delta(refusal="no") + ls.finish() + ls.DONE
    )  # fmt: skip
    message = run(data)[0]["choices"][0]["message"]
    assert message["reasoning_content"] == "hm so"
    assert message["content"] == "4"
    assert message["refusal"] == "no"


def test_logprobs_are_joined():
    data = (
        ls.delta(content="a", logprobs=["a"])
        + ls.delta(content="b", logprobs=["b"])
        + ls.finish()
        + ls.DONE
    )
    content = run(data)[0]["choices"][0]["logprobs"]["content"]
    assert [one["token"] for one in content] == ["a", "b"]
    hidden = run(data, AnswerPlan(chat=True, hide_logprobs=True))[0]
    assert hidden["choices"][0]["logprobs"] is None


def test_several_choices_come_in_order():
    data = (
        ls.delta(1, content="b") + ls.delta(0, content="a")
        + ls.finish(1, reason="stop") + ls.finish(0) + ls.DONE
    )  # fmt: skip
    answer = run(data, AnswerPlan(chat=True, choices_per_prompt=2))[0]
    assert [(one["index"], one["message"]["content"]) for one in answer["choices"]] == [
        (0, "a"),
        (1, "b"),
    ]


def test_a_completion_has_text_and_legacy_logprobs():
    data = (
        ls.text(" a", logprobs={"content": [{"token": " a", "logprob": -1.0}]})
        + ls.text(" b", logprobs={"content": [{"token": " b", "logprob": -2.0}]})
        + ls.text("", reason="stop", timings=ls.timings())
        + ls.DONE
    )
    choice = run(data, AnswerPlan(chat=False, legacy_logprobs=True))[0]["choices"][0]
    assert choice["text"] == " a b"
    assert choice["logprobs"]["text_offset"] == [0, 2]
    assert choice["finish_reason"] == "stop"


def test_an_echoed_prefix_is_stripped():
    prefix = "Once upon a time there was a very long prefix indeed. " * 4
    data = ls.delta(content=prefix + "The") + ls.delta(content=" end") + ls.finish() + ls.DONE
    answer = run(data, AnswerPlan(chat=True, prefix=prefix))[0]
    assert answer["choices"][0]["message"]["content"] == "The end"


def test_an_answer_that_is_not_whole_is_a_clean_failure():
    answer, ending, translation = run(ls.chat("Hi").removesuffix(ls.DONE))
    assert answer is None
    assert translation.head is None
    assert ending.failure.code is ErrorCode.ENGINE_CRASH


def test_garbage_in_an_answer_is_a_clean_failure():
    for bad in (
        b"data: {x\n\n",
        ls.delta(tool_calls=[call(index=-1)]),
        ls.delta(tool_calls=[call(index=500)]),
        ls.text("x", logprobs={"content": 7}),
    ):
        plan = AnswerPlan(chat=True, legacy_logprobs=True)
        answer, ending, _ = run(ls.delta(content="a") + bad + ls.finish() + ls.DONE, plan)
        assert answer is None, bad
        assert ending.failure.code is ErrorCode.ENGINE_GARBAGE


def test_an_answer_without_end_is_given_up():
    translation = AggregateTranslation(AnswerPlan(chat=True))
    translation.on_head(200, {})
    piece = ls.delta(content="x" * 500_000)
    for _ in range(ANSWER_BYTES_MAX // len(piece) + 2):
        translation.on_data(piece)
    assert translation.failure.code is ErrorCode.ENGINE_GARBAGE


def test_an_error_status_keeps_its_meaning():
    body = b'{"error":{"code":400,"message":"too long","type":"exceed_context_size_error"}}'
    assert run(body, status=400)[1].failure.code is ErrorCode.CONTEXT_LENGTH_EXCEEDED


WHOLE = ls.chat("Hi", " é", "🙂")


@given(st.integers(1, len(WHOLE)))
def test_any_split_gives_the_same_answer(size):
    assert run(WHOLE, size=size)[0] == run(WHOLE)[0]
