import math

import pytest

from helexa.model_runtime.dummy import DummyRuntime
from helexa.model_runtime.interfaces import InferenceError
from helexa.protocol.errors import ErrorCode
from helexa.protocol.inference import (
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Usage,
)


def chat(*contents, **fields):
    messages = tuple(ChatMessage(role="user", content=content) for content in contents)
    return ChatRequest(model="m", messages=messages, **fields)


async def test_a_chat_repeats_the_last_user_message_every_time():
    """R0.24"""
    runtime = DummyRuntime()
    answers = [await runtime.chat(chat("first", "one two three")) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0].text == "one two three"
    assert answers[0].finish_reason == "stop"
    assert answers[0].usage == Usage(prompt_tokens=4, completion_tokens=3)


async def test_the_bound_on_tokens_is_kept_and_the_newer_name_wins():
    """Lesson 48."""
    answer = await DummyRuntime().chat(chat("a b c", max_tokens=9, max_completion_tokens=2))
    assert (answer.text, answer.finish_reason) == ("a b", "length")


async def test_a_stream_says_the_same_in_whole_words():
    parts = [part async for part in DummyRuntime().chat_stream(chat("é 🙂 x", max_tokens=2))]
    assert parts == ["é", " 🙂"]


async def test_other_roles_and_parts_and_null_content():
    """Lesson 4."""
    messages = (
        ChatMessage(role="user", content=[{"type": "text", "text": "hey you"}]),
        ChatMessage(role="assistant", content=None),
    )
    answer = await DummyRuntime().chat(ChatRequest(model="m", messages=messages))
    assert answer.text == "hey you"


async def test_a_canned_answer_replaces_every_text():
    runtime = DummyRuntime("always this")
    assert (await runtime.chat(chat("x"))).text == "always this"
    completion = CompletionRequest(model="m", prompt="x", max_tokens=1)
    assert (await runtime.complete(completion)).text == "always"
    assert (await runtime.caption(b"i", "image/png", "what")).text == "always this"


async def test_a_completion_repeats_its_prompt():
    """R0.21, R0.24"""
    answer = await DummyRuntime().complete(CompletionRequest(model="m", prompt="to be"))
    assert (answer.text, answer.usage.prompt_tokens) == ("to be", 2)


@pytest.mark.parametrize(
    ("given", "count"), [("cat", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1], [2]], 2)]
)
async def test_every_input_gets_one_vector_of_length_one(given, count):
    """R0.22, R0.24"""
    answer = await DummyRuntime().embed(EmbeddingRequest(model="m", input=given))
    assert len(answer.vectors) == count
    assert all(math.isclose(sum(x * x for x in one), 1.0) for one in answer.vectors)


async def test_a_caption_names_what_it_was_given():
    """R0.23, R0.24"""
    first = await DummyRuntime().caption(b"abc", "image/png", "what is it?")
    assert first.text.startswith("image/png of 3 bytes")
    assert first != await DummyRuntime().caption(b"abd", "image/png", "what is it?")


async def test_a_request_without_content_is_the_callers_fault():
    runtime = DummyRuntime()
    for asking in (
        runtime.chat(chat()),
        runtime.embed(EmbeddingRequest(model="m", input=[])),
        runtime.caption(b"", "image/png", "x"),
    ):
        with pytest.raises(InferenceError) as caught:
            await asking
        assert caught.value.code is ErrorCode.INVALID_REQUEST_BODY
