import base64
import json
import struct

import pytest

from helexa.model_runtime.echo_answer import Answer, Faults, embeddings, read_prompt
from helexa.model_runtime.echo_text import expected_text, vector_of
from tests.fakes.llama_stream import payloads, said

FAULTS = Faults()


def prompt(**fields):
    return read_prompt(json.dumps(fields).encode(), FAULTS)


def test_a_prompt_is_read_from_every_kind_of_request():
    chat = prompt(messages=[{"role": "user", "content": "a b"}], max_tokens=3)
    assert (chat.text, chat.tokens, chat.bounded) == ("a b", 3, True)
    parts = prompt(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}]}])
    assert (parts.text, parts.tokens, parts.bounded) == ("x", 16, False)
    assert prompt(prompt=["p", "q"]).text == "p q"
    assert prompt(input=[1, 2]).inputs == ("[1, 2]",)
    assert prompt(input=["a", "b"]).inputs == ("a", "b")
    assert prompt(max_tokens=9, max_completion_tokens=2).tokens == 2


def test_a_trailing_assistant_message_is_a_prefix():
    told = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "so far"}]
    assert prompt(messages=told).prefix == "so far"
    assert prompt(messages=told[:1]).prefix == ""


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"max_tokens":"x"}', b'{"n":2}'])
def test_a_bad_body_is_told(body):
    assert isinstance(read_prompt(body, FAULTS), str)


def stream(answer):
    return answer.opening() + answer.token_events(0, answer.tokens) + answer.closing()


def test_a_stream_and_a_whole_answer_say_the_same():
    answer = Answer(prompt(messages=[], max_tokens=9), "r", "echo", chat=True)
    text = expected_text("r", 9)
    assert said(stream(answer)) == text
    assert answer.whole()["choices"][0]["message"]["content"] == text
    completion = Answer(prompt(prompt="x", max_tokens=2), "r", "echo", chat=False)
    assert completion.whole()["choices"][0]["text"] == expected_text("r", 2)
    assert completion.opening() == b""


def test_finish_and_usage_are_told():
    fields = {"messages": [{"role": "user", "content": "a b"}], "max_tokens": 2}
    counted = prompt(**fields, stream_options={"include_usage": True})
    events = payloads(stream(Answer(counted, "r", "echo", chat=True)))
    assert events[-3]["choices"][0]["finish_reason"] == "length"
    assert events[-2]["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    silent = payloads(stream(Answer(prompt(messages=[]), "r", "echo", chat=True)))
    assert silent[-2]["choices"][0]["finish_reason"] == "stop"


def test_vectors_come_as_numbers_or_packed():
    told = embeddings(prompt(input=["a", "b"]), "echo")
    assert [one["embedding"] for one in told["data"]] == [vector_of("a"), vector_of("b")]
    packed = embeddings(prompt(input="a", encoding_format="base64"), "echo")
    numbers = struct.unpack("<384f", base64.b64decode(packed["data"][0]["embedding"]))
    assert numbers == pytest.approx(vector_of("a"), abs=1e-6)


def test_faults_know_where_they_strike():
    faults = Faults(crash_at_token=3, stall_at_token=5)
    assert min(faults.at_tokens(9)) == 3
    assert faults.strikes(3)
    assert faults.strikes(5)
    assert not faults.strikes(4)
    assert min(FAULTS.at_tokens(9)) == 9


@pytest.mark.parametrize(
    "kind", ["invalid_utf8", "half_json", "long_line", "wrong_shape", "foreign_id"]
)
def test_garbage_is_what_a_strict_reader_refuses(kind):
    from helexa.model_runtime.engines.stream import (  # noqa: PLC0415
        AnswerPlan,
        StreamTranslation,
    )

    answer = Answer(prompt(messages=[], max_tokens=4), "r", "echo", chat=True)
    translation = StreamTranslation(AnswerPlan(chat=True))
    translation.on_head(200, {})
    before = translation.on_data(answer.opening() + answer.token_events(0, 2))
    assert said(before) == expected_text("r", 2)
    translation.on_data(answer.garbage(kind) + answer.closing())
    assert translation.failure is not None
