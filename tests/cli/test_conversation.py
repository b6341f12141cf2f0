"""A conversation over the OpenAI API."""

from typing import Any

import pytest

from helexa.cli.conversation import BrokenStreamError, Conversation, default_model
from helexa.cli.http_client import HttpClient, StatusError
from helexa.util.clock import SystemClock
from helexa.util.errors import NotFoundError
from tests.fakes.http_answers import Answer, AnswerServer, events, token

CHAT = "POST /v1/chat/completions"
USAGE = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def client(server: AnswerServer) -> HttpClient:
    return HttpClient(f"{server.base}/v1", timeout_s=5)


def talk(server: AnswerServer, **more: Any) -> Conversation:
    return Conversation(client(server), SystemClock(), "m", **more)


def test_an_answer_comes_in_pieces_and_is_remembered(server: AnswerServer) -> None:
    server[CHAT] = events(token("Hel"), token("lo"), STOP, USAGE)
    conversation = talk(server, system="be brief", max_tokens=5, temperature=0.5)
    assert [piece.text for piece in conversation.ask("hi")] == ["Hel", "lo"]
    assert list(conversation.ask("and?"))
    first, second = (asked.body for asked in server.asked)
    assert first["stream"] is True
    assert (first["max_tokens"], first["temperature"]) == (5, 0.5)
    assert first["messages"] == [
        {"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}
    ]  # fmt: skip
    assert second["messages"][2:] == [
        {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "and?"}
    ]  # fmt: skip


def test_what_an_answer_cost_is_told(server: AnswerServer) -> None:
    server[CHAT] = events(token("x"), STOP, USAGE)
    conversation = talk(server)
    list(conversation.ask("hi"))
    timing = conversation.timing
    assert (timing.prompt_tokens, timing.completion_tokens, timing.finish_reason) == (7, 2, "stop")
    assert timing.first_token_s is not None
    assert "7 tokens in, 2 out" in timing.line()


def test_thinking_is_told_apart_and_not_remembered(server: AnswerServer) -> None:
    thought = {"choices": [{"delta": {"reasoning_content": "hmm"}}]}
    server[CHAT] = events(thought, token("yes"))
    conversation = talk(server)
    pieces = list(conversation.ask("?"))
    assert [(piece.text, piece.is_reasoning) for piece in pieces] == [("hmm", True), ("yes", False)]
    assert conversation.turns[1]["content"] == "yes"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (events(token("a"), done=False), "ended without [DONE]"),
        (events(token("a"), {"error": {"message": "engine died"}}, done=False), "engine died"),
        (events(token("a"), {"error": "engine died"}), "engine died"),
        (events(token("a"), "{nonsense"), "is not JSON"),
        (events(token("a"), "[1]"), "is not an object"),
        (Answer(b"data: " + b"x" * 50, cut=True), "the answer was cut"),
    ],
)
def test_an_answer_that_was_cut_never_looks_whole(
    server: AnswerServer, answer: Answer, said: str
) -> None:
    server[CHAT] = answer
    conversation = talk(server)
    with pytest.raises(BrokenStreamError) as caught:
        list(conversation.ask("hi"))
    assert said in caught.value.message
    assert conversation.turns == []


def test_a_refusal_keeps_the_conversation_as_it_was(server: AnswerServer) -> None:
    server[CHAT] = Answer({"error": {"message": "loading", "code": "model_loading"}}, 503)
    conversation = talk(server)
    with pytest.raises(StatusError, match="503 model_loading: loading"):
        list(conversation.ask("hi"))
    assert conversation.turns == []


def test_forgetting_starts_over(server: AnswerServer) -> None:
    server[CHAT] = events(token("x"))
    conversation = talk(server)
    list(conversation.ask("hi"))
    conversation.forget()
    assert conversation.turns == []


@pytest.mark.parametrize(
    ("models", "chosen"),
    [
        ([{"id": "a"}, {"id": "b"}], "a"),
        ([{"id": "a", "state": "loading"}, {"id": "b", "state": "loaded"}], "b"),
        ([{"id": "a", "capabilities": ["embeddings"]}, {"id": "b", "capabilities": ["chat"]}], "b"),
        ([{"id": "e", "state": "loaded", "capabilities": ["embeddings"]},
          {"id": "c", "state": "unloaded", "capabilities": ["chat"]}], "c"),
    ],
)  # fmt: skip
def test_a_loaded_chat_model_is_chosen_where_none_is_named(
    server: AnswerServer, models: list[dict[str, Any]], chosen: str
) -> None:
    server["GET /v1/models"] = Answer({"data": models})
    assert default_model(client(server)) == chosen


def test_a_server_without_models_is_told(server: AnswerServer) -> None:
    server["GET /v1/models"] = Answer({"data": []})
    with pytest.raises(NotFoundError, match="lists no models"):
        default_model(client(server))
