import json

import pytest

from helexa.model_runtime.engines.body import (
    Body,
    BodyError,
    clamp_tokens,
    refused,
    trailing_assistant_text,
)
from helexa.protocol.errors import ErrorCode


def test_untouched_fields_keep_the_callers_own_bytes():
    body = Body(b'{"seed":1e400,"x": {"b":1,"a":  2.50},"big":123456789012345678901234567890}')
    body.set("model", "m")
    out = body.encode()
    assert b'{"b":1,"a":  2.50}' in out
    assert b"1e400" in out
    assert b"123456789012345678901234567890" in out


@pytest.mark.parametrize("data", [b"", b"{bad", b"[1]", b'"x"', b'{"a":"\xff"}', b"\xff"])
def test_what_is_no_json_object_is_the_callers_fault(data):
    with pytest.raises(BodyError) as caught:
        Body(data)
    assert caught.value.failure.code is ErrorCode.MALFORMED_JSON
    assert not caught.value.failure.blames_engine


def test_a_field_that_is_nested_without_end_is_refused_not_a_crash():
    body = Body(b'{"n":1}')
    assert body.get("n") == 1
    with pytest.raises(BodyError):
        Body(b'{"n":' + b"[" * 100_000 + b"]" * 100_000 + b"}").get("n")


@pytest.mark.parametrize("value", ["true", '"4"', "1.5", "[]"])
def test_a_bound_that_is_no_whole_number_is_refused(value):
    with pytest.raises(BodyError, match="whole number"):
        Body(f'{{"max_tokens":{value}}}'.encode()).integer("max_tokens")


@pytest.mark.parametrize(
    ("asked", "context", "bound"),
    [
        ({"max_tokens": 5}, 100, 5),
        ({"max_tokens": 500}, 100, 100),
        ({}, 100, 100),
        ({"max_tokens": -1}, 100, 100),
        ({"n_predict": 7}, 100, 7),
        ({"max_completion_tokens": 3, "max_tokens": 9, "n_predict": 11}, 100, 3),
        ({"max_completion_tokens": None, "max_tokens": 9.0}, None, 9),
        ({}, None, None),
    ],
)
def test_one_bound_on_new_tokens_is_left_and_it_fits_the_context(asked, context, bound):
    body = Body(json.dumps(asked).encode())
    clamp_tokens(body, context)
    left = json.loads(body.encode())
    assert left == ({} if bound is None else {"max_tokens": bound})


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([{"role": "user", "content": "x"}], None),
        ([{"role": "assistant", "content": "One, two"}], "One, two"),
        ([{"role": "assistant", "content": ""}], None),
        ([{"role": "assistant", "content": None}], None),
        ([{"role": "assistant"}], None),
        ([{"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}], None),
        ([{"role": "assistant", "content": [{"type": "text", "text": "a"},
                                            {"type": "text", "text": "b"}]}], "a\nb"),
        ([], None),
        ("nonsense", None),
        ([7], None),
    ],
)  # fmt: skip
def test_the_trailing_assistant_text_is_found(messages, text):
    assert trailing_assistant_text(Body(json.dumps({"messages": messages}).encode())) == text


def test_a_body_without_messages_has_no_trailing_text():
    assert trailing_assistant_text(Body(b"{}")) is None


def test_fields_are_dropped_and_a_refusal_never_blames_the_engine():
    body = Body(b'{"a":1,"b":null}')
    body.drop("a", "zz")
    assert body.encode() == b'{"b":null}'
    assert body.get("b") is None
    assert body.raw("a") is None
    assert refused("no").blames_engine is False
