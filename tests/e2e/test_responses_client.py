"""OpenAI's client and its Responses API against a whole helexa: llama.cpp and the echo engine."""

import asyncio
import copy
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.e2e.echoes import echo, engine_of, port_of, stats
from tests.e2e.polling import wait_until
from tests.e2e.roles import ROOT
from tests.e2e.stack import Stack
from tests.e2e.wire import Ending, ask
from tests.fakes.codex import CODEX
from tests.fakes.runnable_model import write_tool_calling_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
REAL, TOOLED = "smollm2-135m", "tooled"
WEIGHTS = ROOT / ".make" / "models"
RESPONSES = "/v1/responses"
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Sofia", "Varna"]}},
        "required": ["city"],
    },
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    write_tool_calling_model(WEIGHTS / f"{TOOLED}.gguf")
    models: list[dict[str, Any]] = [
        {"id": REAL, "options": {"context_tokens": 2048}},
        {"id": TOOLED, "engine": "llamacpp", "source": f"{TOOLED}.gguf"},
        echo("slow", tokens_per_second=20),
        echo("cut", truncate_at_token=6, tokens_per_second=50),
    ]
    stack = Stack(models, neuron={"weights_dir": str(WEIGHTS), "engines": {"threads": 1}})
    stack.ready_within_s = 240.0
    with stack:
        yield stack


@pytest.fixture
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    url = f"{stack.base_url}/v1"
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0, timeout=120) as client:
        yield client


def test_a_real_model_answers_in_one_piece(client: openai.OpenAI) -> None:
    answer = client.responses.create(
        model=REAL, input="Say hello.", instructions="Be short.", max_output_tokens=16
    )
    assert answer.output_text
    assert answer.status in {"completed", "incomplete"}
    assert answer.instructions == "Be short."
    assert answer.usage is not None
    assert 0 < answer.usage.output_tokens <= 16
    assert answer.store is False


def test_a_real_model_streams_numbered_events(client: openai.OpenAI) -> None:
    """Lesson 16."""
    with client.responses.stream(model=REAL, input="Say hello.", max_output_tokens=12) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:3] == ["response.created", "response.in_progress", "response.output_item.added"]
    last = events[-1]
    assert last.type in {"response.completed", "response.incomplete"}
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == last.response.output_text


@pytest.mark.parametrize("streamed", [False, True])
def test_a_model_calls_a_tool_and_is_told_its_result(client: openai.OpenAI, streamed: bool) -> None:
    asked: list[Any] = [{"role": "user", "content": "How is the weather in Sofia?"}]
    fields: dict[str, Any] = {"model": TOOLED, "tools": [WEATHER], "parallel_tool_calls": False}
    forced = {**fields, "input": asked, "tool_choice": "required", "max_output_tokens": 1000}
    if streamed:
        with client.responses.stream(**forced) as stream:
            answer = stream.get_final_response()
    else:
        answer = client.responses.create(**forced)
    call = answer.output[-1]
    assert call.type == "function_call"
    assert call.name == "get_weather"
    assert json.loads(call.arguments)["city"] in {"Sofia", "Varna"}
    given = [item.model_dump(exclude_none=True) for item in answer.output]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    last = client.responses.create(
        **fields, input=[*asked, *given, result], tool_choice="none", max_output_tokens=4
    )
    assert last.status in {"completed", "incomplete"}


def test_what_codex_sends_is_answered_by_a_stream_it_knows(stack: Stack) -> None:
    body = copy.deepcopy(CODEX) | {"model": TOOLED, "max_output_tokens": 8, "tool_choice": "none"}
    body["input"][8]["output"] = "done"  # not the picture: this model sees none
    headers = {"accept": "text/event-stream", "authorization": "Bearer any", "session_id": "s"}
    answer = asyncio.run(ask(stack.gateway, "POST", RESPONSES, body, headers))
    assert (answer.status, answer.ended) == (200, Ending.CLEAN), answer.body
    assert answer.done
    last = json.loads(answer.events[-2])
    assert last["type"] in {"response.completed", "response.incomplete"}
    assert last["response"]["prompt_cache_key"] == CODEX["prompt_cache_key"]


def test_what_would_need_a_stored_answer_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="nothing is stored") as raised:
        client.responses.create(model=REAL, input="a", previous_response_id="resp_1")
    assert raised.value.param == "previous_response_id"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_1")


def test_a_caller_that_leaves_stops_the_engine(stack: Stack, client: openai.OpenAI) -> None:
    with client.responses.stream(model="slow", input="a", max_output_tokens=5000) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                break
    port = port_of(engine_of(stack, "slow"))
    wait_until(lambda: stats(port)["active"] == 0, "the engine to stop", 10)


def test_a_broken_stream_is_an_error_and_a_cut(stack: Stack, client: openai.OpenAI) -> None:
    body = {"model": "cut", "input": "a", "max_output_tokens": 50, "stream": True}
    answer = asyncio.run(ask(stack.gateway, "POST", RESPONSES, body))
    kinds = [json.loads(event)["type"] for event in answer.events]
    assert answer.ended is Ending.CUT
    assert (kinds[0], kinds[-1]) == ("response.created", "error")
    assert "response.completed" not in kinds
    asked = client.responses.stream(model="cut", input="a", max_output_tokens=50)
    with pytest.raises(openai.APIError), asked as stream:
        for _ in stream:
            pass
