"""Anthropic's own client against a whole helexa: a real model in llama.cpp, and the echo engine."""

import asyncio
import copy
import hashlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.e2e.echoes import echo, engine_of, port_of, stats
from tests.e2e.polling import wait_until
from tests.e2e.roles import ROOT
from tests.e2e.stack import Stack
from tests.e2e.wire import HOST, Answer, Ending, ask
from tests.fakes.claude_code import CLAUDE_CODE
from tests.fakes.runnable_model import write_tool_calling_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
REAL = "smollm2-135m"
TOOLED = "tooled"
WEIGHTS = ROOT / ".make" / "models"
MESSAGES = "/v1/messages"
HELLO: list[Any] = [{"role": "user", "content": "Say hello."}]
WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "Tell the weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"enum": ["Sofia", "Varna"]}},
        "required": ["city"],
    },
}

ONE: dict[str, Any] = {"type": "any", "disable_parallel_tool_use": True}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    write_tool_calling_model(WEIGHTS / f"{TOOLED}.gguf")
    models: list[dict[str, Any]] = [
        {"id": REAL, "options": {"context_tokens": 2048}},
        {"id": TOOLED, "engine": "llamacpp", "source": f"{TOOLED}.gguf"},
        echo(),
        echo("slow", tokens_per_second=20),
        echo("dying", crash_at_token=3),
        echo("cut", truncate_at_token=6, tokens_per_second=50),
        echo("single", parallel=1, tokens_per_second=5),
    ]
    settings = {"weights_dir": str(WEIGHTS), "engines": {"threads": 1}}
    stack = Stack(models, neuron=settings, cortex={"gateway": {"queue_requests_max": 0}})
    stack.ready_within_s = 240.0
    with stack:
        yield stack


@pytest.fixture
def client(stack: Stack) -> Iterator[anthropic.Anthropic]:
    url = stack.base_url
    with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0, timeout=120) as client:
        yield client


def request_bytes(body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {MESSAGES} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(data)}\r\n\r\n"
    return head.encode() + data


def refused(stack: Stack, body: dict[str, Any]) -> Answer | None:
    """Return the answer to a request for which there is no place, None where it has one."""
    short = {**body, "stream": False, "max_tokens": 1}
    answer = asyncio.run(ask(stack.gateway, "POST", MESSAGES, short))
    return answer if answer.status == 429 else None


def test_a_real_model_answers_in_one_piece(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(model=REAL, messages=HELLO, max_tokens=16, system="Be short.")
    assert answer.type == "message"
    assert answer.role == "assistant"
    assert answer.model == REAL
    block = answer.content[0]
    assert block.type == "text"
    assert block.text
    assert answer.stop_reason in {"end_turn", "max_tokens"}
    read = answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)
    assert read > 5
    assert 0 < answer.usage.output_tokens <= 16
    assert answer._request_id


def test_a_real_model_streams_the_events_that_the_client_knows(
    client: anthropic.Anthropic,
) -> None:
    with client.messages.stream(model=REAL, messages=HELLO, max_tokens=12) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    raw = [kind for kind in kinds if kind not in {"text", "ping"}]
    assert raw[:2] == ["message_start", "content_block_start"]
    assert raw[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(raw[2:-3]) == {"content_block_delta"}
    assert final.content[0].type == "text"
    assert final.stop_reason in {"end_turn", "max_tokens"}
    assert final.usage.output_tokens > 0
    assert final.usage.input_tokens + (final.usage.cache_read_input_tokens or 0) > 5


def test_a_prompt_that_was_read_before_is_told_as_read_from_the_cache(
    client: anthropic.Anthropic,
) -> None:
    """Lesson 50: a flat hit rate of 0 % makes agents destroy their own cache."""
    asked: list[Any] = [{"role": "user", "content": "Tell me of the sea. " * 40}]
    first = client.messages.create(model=REAL, messages=asked, max_tokens=2)
    again = client.messages.create(model=REAL, messages=asked, max_tokens=2)
    whole = first.usage.input_tokens + (first.usage.cache_read_input_tokens or 0)
    assert again.usage.cache_read_input_tokens
    assert again.usage.input_tokens + again.usage.cache_read_input_tokens == whole


def test_counting_agrees_with_what_a_request_is_charged(client: anthropic.Anthropic) -> None:
    for model in (REAL, "echo"):
        asked: dict[str, Any] = {"model": model, "messages": HELLO, "system": "Be short."}
        counted = client.messages.count_tokens(**asked)
        usage = client.messages.create(**asked, max_tokens=1).usage
        assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)
        assert "estimated" not in (counted.model_extra or {})


def test_the_words_of_an_assistant_are_gone_on_with(client: anthropic.Anthropic) -> None:
    asked = [*HELLO, {"role": "assistant", "content": "Hello, my dear"}]
    answer = client.messages.create(model=REAL, messages=asked, max_tokens=6)
    assert answer.content[0].type == "text"
    assert not answer.content[0].text.startswith("Hello, my dear")


def test_a_model_without_tools_says_so_and_which_field_to_leave_out(
    client: anthropic.Anthropic,
) -> None:
    with pytest.raises(anthropic.BadRequestError, match="takes no tools") as raised:
        client.messages.create(model=REAL, messages=HELLO, max_tokens=8, tools=[WEATHER])
    assert raised.value.body["error"]["type"] == "invalid_request_error"


def test_what_claude_code_sends_is_answered_by_a_stream_it_knows(stack: Stack) -> None:
    """Its path has a query, its body fields and tools that nobody here knows."""
    body = copy.deepcopy(CLAUDE_CODE) | {"model": TOOLED, "max_tokens": 8}
    results = body["messages"][2]["content"]
    results[1]["content"] = results[1]["content"][:1]  # the picture: this model sees none
    headers = {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14",
        "x-claude-code-session-id": "a0e1",
        "authorization": "Bearer any",
    }
    answer = asyncio.run(ask(stack.gateway, "POST", f"{MESSAGES}?beta=true", body, headers))
    assert (answer.status, answer.ended) == (200, Ending.CLEAN), answer.body
    kinds = [json.loads(event)["type"] for event in answer.events]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])


def test_the_tool_that_is_named_is_the_one_that_is_called(client: anthropic.Anthropic) -> None:
    """llama.cpp itself would not even look at such a choice."""
    tools: list[Any] = [{**WEATHER, "name": name} for name in ("first", "second", "third")]
    choice: Any = {"type": "tool", "name": "second", "disable_parallel_tool_use": True}
    answer = client.messages.create(
        model=TOOLED, messages=HELLO, max_tokens=1000, tools=tools, tool_choice=choice
    )
    assert [block.name for block in answer.content if block.type == "tool_use"] == ["second"]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_model_calls_a_tool_and_is_told_its_result(
    client: anthropic.Anthropic, streamed: bool
) -> None:
    """Lesson 54: tools, tool_choice, tool_use and tool_result, both ways."""
    asked: list[Any] = [{"role": "user", "content": "How is the weather in Sofia?"}]
    with_tools: dict[str, Any] = {"model": TOOLED, "tools": [WEATHER], "max_tokens": 1000}
    forced = {**with_tools, "messages": asked, "tool_choice": ONE}
    if streamed:
        with client.messages.stream(**forced) as stream:
            answer = stream.get_final_message()
    else:
        answer = client.messages.create(**forced)
    assert answer.stop_reason == "tool_use"
    use = answer.content[-1]
    assert use.type == "tool_use"
    assert use.name == "get_weather"
    assert use.input["city"] in {"Sofia", "Varna"}
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny, 25 °C"}
    turns = [
        *asked,
        {"role": "assistant", "content": [block.model_dump() for block in answer.content]},
        {"role": "user", "content": [result, {"type": "text", "text": "And?"}]},
    ]
    none = {"type": "none"}
    last = client.messages.create(
        **{**with_tools, "max_tokens": 4}, messages=turns, tool_choice=none
    )
    assert last.stop_reason in {"max_tokens", "end_turn"}
    before = client.messages.count_tokens(model=TOOLED, messages=asked).input_tokens
    after = client.messages.count_tokens(model=TOOLED, messages=turns, tools=[WEATHER])
    assert after.input_tokens > before + 100


def test_models_are_listed_as_the_client_expects(client: anthropic.Anthropic) -> None:
    page = client.models.list(limit=1000)
    assert {model.id for model in page} >= {REAL, TOOLED, "echo"}
    assert not page.has_more
    one = client.models.retrieve(REAL)
    assert (one.type, one.display_name, one.created_at.year) == ("model", REAL, 2026)


def test_errors_are_anthropics_own(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as unknown:
        client.messages.create(model="nobody", messages=HELLO, max_tokens=8)
    assert unknown.value.body["error"]["type"] == "not_found_error"
    assert unknown.value.body["request_id"] == unknown.value.request_id
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        client.post(MESSAGES, body={"model": REAL, "messages": HELLO}, cast_to=object)
    long: list[Any] = [{"role": "user", "content": "word " * 4000}]
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
        client.messages.create(model=REAL, messages=long, max_tokens=8)


def test_too_many_requests_are_a_429_with_retry_after(stack: Stack) -> None:
    """Finding: what says overloaded_error is tried seven times and more."""
    body = {"model": "single", "messages": HELLO, "max_tokens": 400, "stream": True}
    at_work = [socket.create_connection((HOST, stack.gateway)) for _ in range(3)]
    try:
        for caller in at_work:
            caller.sendall(request_bytes(body))
        port = port_of(engine_of(stack, "single"))
        wait_until(lambda: stats(port)["active"] == 1, "the only seat to be taken", 10)
        wait_until(lambda: refused(stack, body) is not None, "a request to be refused", 10)
        answer = refused(stack, body)
        assert answer is not None
        assert answer.json()["error"]["type"] == "rate_limit_error"
        assert 1 <= int(answer.headers["retry-after"]) <= 30
        assert answer.headers["request-id"] == answer.json()["request_id"]
    finally:
        for caller in at_work:
            caller.close()


def test_a_caller_that_leaves_stops_the_engine(stack: Stack, client: anthropic.Anthropic) -> None:
    with client.messages.stream(model="slow", messages=HELLO, max_tokens=5000) as stream:
        for event in stream:
            if event.type == "text":
                break
    port = port_of(engine_of(stack, "slow"))
    wait_until(lambda: stats(port)["active"] == 0, "the engine to stop", 10)
    assert stats(port)["aborted"] == 1


def test_an_engine_that_dies_ends_the_stream_in_an_error_and_a_cut(
    stack: Stack, client: anthropic.Anthropic
) -> None:
    """Lesson 17: never a message_stop after a broken answer."""
    asked = client.messages.stream(model="dying", messages=HELLO, max_tokens=50)
    with pytest.raises(anthropic.APIError) as raised, asked as stream:
        for _ in stream:
            pass
    assert raised.value.body["error"]["type"] == "api_error"


def test_a_broken_stream_is_whole_events_then_an_error_then_a_cut(stack: Stack) -> None:
    body = {"model": "cut", "messages": HELLO, "max_tokens": 50, "stream": True}
    answer = asyncio.run(ask(stack.gateway, "POST", f"{MESSAGES}?beta=true", body))
    events = [json.loads(event) for event in answer.events]
    assert answer.ended is Ending.CUT
    assert events[0]["type"] == "message_start"
    assert events[-1]["type"] == "error"
    assert not any(event["type"] == "message_stop" for event in events)


def test_a_key_in_either_header_is_looked_at_and_a_wrong_one_told_in_the_dialect() -> None:
    key = "k" * 40
    locked = Stack([echo()], cortex={"auth": {"keys_file": "keys"}})
    keys = locked.folder / "keys"
    keys.write_text(f"claude: sha256:{hashlib.sha256(key.encode()).hexdigest()}\n")
    keys.chmod(0o600)
    locked.headers = {"x-api-key": key}
    asked: dict[str, Any] = {"model": "echo", "messages": HELLO, "max_tokens": 2}
    with locked:
        for secret in ({"api_key": key}, {"auth_token": key}):
            with anthropic.Anthropic(base_url=locked.base_url, max_retries=0, **secret) as client:
                assert client.messages.create(**asked).usage.output_tokens == 2
        wrong = anthropic.Anthropic(base_url=locked.base_url, max_retries=0, api_key="wrong")
        with wrong as client, pytest.raises(anthropic.AuthenticationError) as raised:
            client.messages.create(**asked)
        assert raised.value.body["error"]["type"] == "authentication_error"
