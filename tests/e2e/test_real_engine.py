"""A real model behind real clients: one cortex, one neuron, llama.cpp with SmolLM2 and MiniLM.

R1.1, R1.2, R1.3, R1.6: everything here runs over the direct websocket, with a static list of
models, no mesh, and an engine that is a process of its own.
"""

import asyncio
import base64
import json
import math
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.roles import ROOT, environment
from tests.e2e.stack import Stack
from tests.e2e.wire import Ending, ask

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
CHAT, EMBED = "smollm2-135m", "all-minilm-l6-v2"
CONTEXT_TOKENS = 2048
WEIGHTS = ROOT / ".make" / "models"
"""Kept between runs: the weights are fetched once, by the product itself."""
HELLO = [{"role": "user", "content": "Say hello."}]
EXACT = {"temperature": 0.9, "seed": 7, "max_tokens": 24}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    models: list[dict[str, Any]] = [
        {"id": CHAT, "options": {"context_tokens": CONTEXT_TOKENS}, "aliases": ["gpt-4o-mini"]},
        {"id": EMBED},
    ]
    defaults = {"default_models": {"chat": CHAT, "embedding": EMBED}}
    # One thread each: two that wait for each other crawl where the cores are shared.
    settings = {"weights_dir": str(WEIGHTS), "engines": {"threads": 1}}
    stack = Stack(models, cortex=defaults, neuron=settings)
    stack.ready_within_s = 240.0  # the first run fetches 180 MB
    with stack:
        yield stack


@pytest.fixture
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    url = f"{stack.base_url}/v1"
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0, timeout=120) as client:
        yield client


def cosine(left: Sequence[float], right: Sequence[float]) -> float:
    dot = sum(a * b for a, b in zip(left, right, strict=True))
    return dot / (math.hypot(*left) * math.hypot(*right))


# ── openai-python ─────────────────────────────────────────────────────────────────────────────


def test_openai_python_chats(client: openai.OpenAI) -> None:
    """R1.1, R1.4: a chat request is served end to end."""
    answer = client.chat.completions.create(model=CHAT, messages=HELLO, max_tokens=16)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in {"stop", "length"}
    assert answer.model == CHAT
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= 16
    counted = answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.total_tokens == counted


def test_openai_python_streams_and_gets_usage_only_when_it_asks(client: openai.OpenAI) -> None:
    for asked in (False, True):
        options = {"stream_options": {"include_usage": True}} if asked else {}
        chunks = list(
            client.chat.completions.create(
                model=CHAT, messages=HELLO, max_tokens=12, stream=True, **options
            )
        )
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text
        usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
        assert len(usages) == asked
        if asked:
            assert chunks[-1].choices == []
            assert usages[0].completion_tokens <= 12


def test_openai_python_embeds_with_its_default_base64(client: openai.OpenAI) -> None:
    """R1.5: embeddings; kitten is nearer to cat than stocks are."""
    texts = ["a cat", "a small kitten", "the stock market fell"]
    answer = client.embeddings.create(model=EMBED, input=texts)
    cat, kitten, stocks = (item.embedding for item in answer.data)
    assert [item.index for item in answer.data] == [0, 1, 2]
    assert len(cat) == len(kitten) == len(stocks) == 384
    assert cosine(cat, kitten) > cosine(cat, stocks) + 0.2
    assert answer.usage.prompt_tokens > 0


def test_floats_base64_and_token_ids_are_all_embedded(client: openai.OpenAI) -> None:
    floats = client.embeddings.create(model=EMBED, input="a cat", encoding_format="float")
    coded = client.embeddings.create(model=EMBED, input="a cat", encoding_format="base64")
    raw = coded.data[0].embedding
    vector = floats.data[0].embedding
    assert isinstance(raw, str)
    decoded = struct.unpack(f"<{len(vector)}f", base64.b64decode(raw))
    assert cosine(vector, decoded) > 0.9999
    by_ids = client.embeddings.create(model=EMBED, input=[[101, 1037, 4937, 102]])
    assert len(by_ids.data[0].embedding) == 384


def test_openai_python_completes(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=CHAT, prompt="The capital of France is", max_tokens=8)
    assert answer.choices[0].text.strip()
    assert answer.object == "text_completion"
    pieces = client.completions.create(
        model=CHAT, prompt="One, two, three,", max_tokens=8, stream=True
    )
    assert "".join(piece.choices[0].text for piece in pieces if piece.choices)


async def test_the_async_client_streams(stack: Stack) -> None:
    url = f"{stack.base_url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model=CHAT, messages=HELLO, max_tokens=12, stream=True
        )
        text = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
        assert text
        answer = await client.embeddings.create(model=EMBED, input="a cat")
        assert len(answer.data[0].embedding) == 384


def test_the_models_are_listed_with_their_context(client: openai.OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert {CHAT, EMBED, "gpt-4o-mini"} <= set(models)
    one = client.models.retrieve(CHAT).to_dict()
    assert one["context_length"] == CONTEXT_TOKENS
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("no-such-model")
    assert caught.value.code == "model_not_found"


def test_an_alias_and_no_model_at_all_mean_the_configured_model(client: openai.OpenAI) -> None:
    """R1.22: the default model serves requests that name none."""
    named = client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, max_tokens=4)
    assert named.choices[0].message.content
    unnamed = client.post(
        "/chat/completions", body={"messages": HELLO, "max_tokens": 4}, cast_to=dict[str, Any]
    )
    assert unnamed["choices"][0]["message"]["content"]


# ── what a request can ask for ────────────────────────────────────────────────────────────────


def test_a_schema_is_obeyed(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=CHAT, max_tokens=120, temperature=0,
        messages=[{"role": "user", "content": "Ann is 31 years old. Answer as JSON."}],
        response_format={"type": "json_schema", "json_schema": {"name": "p", "schema": schema}},
    )  # fmt: skip
    said = json.loads(answer.choices[0].message.content or "")
    assert set(said) == {"name", "age"}
    assert isinstance(said["age"], int)


def test_a_stop_text_ends_the_answer_and_is_not_part_of_it(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model=CHAT, prompt="1, 2, 3, 4, 5, 6,", max_tokens=40, temperature=0, stop=["9"]
    )
    assert "9" not in answer.choices[0].text
    assert answer.choices[0].finish_reason == "stop"


def test_the_same_seed_gives_the_same_text(client: openai.OpenAI) -> None:
    def say(seed: int) -> str:
        answer = client.chat.completions.create(
            model=CHAT, messages=[{"role": "user", "content": "Tell a story about the sea."}],
            extra_body={"cache_prompt": False}, **{**EXACT, "seed": seed},
        )  # fmt: skip
        return answer.choices[0].message.content or ""

    assert say(7) == say(7)
    assert len({say(seed) for seed in (1, 2, 3)}) > 1


def test_logprobs_come_in_both_shapes(client: openai.OpenAI) -> None:
    chat = client.chat.completions.create(
        model=CHAT, messages=HELLO, max_tokens=3, logprobs=True, top_logprobs=2
    )
    shown = chat.choices[0].logprobs
    assert shown is not None
    assert shown.content
    assert len(shown.content[0].top_logprobs) == 2
    assert shown.content[0].logprob <= 0
    legacy = client.completions.create(model=CHAT, prompt="Once upon", max_tokens=3, logprobs=2)
    told = legacy.choices[0].logprobs
    assert told is not None
    assert told.tokens
    assert told.token_logprobs
    assert len(told.tokens) == len(told.token_logprobs)


def test_n_gives_that_many_choices(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=CHAT, messages=HELLO, max_tokens=4, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert all(choice.message.content for choice in answer.choices)


def test_max_completion_tokens_beats_max_tokens(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=CHAT, messages=[{"role": "user", "content": "Count to one hundred."}],
        max_tokens=60, max_completion_tokens=3,
    )  # fmt: skip
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 3
    assert answer.choices[0].finish_reason == "length"


def test_an_assistant_turn_without_content_is_taken(client: openai.OpenAI) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    messages: list[Any] = [
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "noon"},
        {"role": "user", "content": "Thanks."},
    ]
    answer = client.chat.completions.create(model=CHAT, messages=messages, max_tokens=4)
    assert answer.choices[0].message.content is not None


def test_a_prompt_over_the_window_is_told_as_such(client: openai.OpenAI) -> None:
    long: list[Any] = [{"role": "user", "content": "many words " * 4000}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=CHAT, messages=long, stream=stream)
        assert caught.value.code == "context_length_exceeded"
    # The engine is not blamed for it: the next request is served as ever.
    assert client.chat.completions.create(model=CHAT, messages=HELLO, max_tokens=2).choices


def test_a_chat_with_an_embedding_model_is_refused_and_not_the_engine_s_fault(
    client: openai.OpenAI,
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=EMBED, messages=HELLO, max_tokens=2)
    assert caught.value.status_code in {400, 404, 501}
    with pytest.raises(openai.APIStatusError) as caught:
        client.embeddings.create(model=CHAT, input="a cat")
    assert caught.value.status_code in {400, 404, 501}


async def test_32_streams_at_once_are_all_whole(stack: Stack) -> None:
    body = {"model": CHAT, "messages": HELLO, "max_tokens": 8, "stream": True}

    async def one() -> None:
        answer = await ask(stack.gateway, "POST", "/v1/chat/completions", body)
        assert (answer.status, answer.ended, answer.done) == (200, Ending.CLEAN, True), answer.body
        assert answer.finish_reason in {"stop", "length"}

    async with asyncio.TaskGroup() as group:
        for _ in range(32):
            group.create_task(one())


async def test_streamed_and_whole_answers_say_the_same(stack: Stack) -> None:
    body = {"model": CHAT, "messages": HELLO, "cache_prompt": False, **EXACT}
    path = "/v1/chat/completions"
    whole = (await ask(stack.gateway, "POST", path, body)).json()
    streamed = await ask(stack.gateway, "POST", path, {**body, "stream": True})
    assert streamed.text == whole["choices"][0]["message"]["content"]
    assert streamed.finish_reason == whole["choices"][0]["finish_reason"]
    assert {chunk["id"] for chunk in streamed.chunks} != {whole["id"]}
    assert len({chunk["id"] for chunk in streamed.chunks}) == 1
    assert streamed.headers["content-type"].startswith("text/event-stream")


# ── other clients ─────────────────────────────────────────────────────────────────────────────


def run(arguments: Sequence[str | Path], within_s: float = 120.0, **settings: Any) -> str:
    done = subprocess.run(
        [str(part) for part in arguments], capture_output=True, text=True, timeout=within_s,
        check=False, **settings,
    )  # fmt: skip
    assert done.returncode == 0, f"{arguments[0]}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_gets_answers_and_streams(stack: Stack) -> None:
    """R1.4, R1.5: as the README shows it."""
    url = f"{stack.base_url}/v1"
    kind = ("-H", "content-type: application/json")
    body = {"model": CHAT, "messages": HELLO, "max_tokens": 8}
    chat = ("curl", "-sS", "--fail-with-body", f"{url}/chat/completions", *kind, "-d")
    whole = json.loads(run([*chat, json.dumps(body)]))
    assert whole["choices"][0]["message"]["content"]
    streamed = run([*chat, json.dumps({**body, "stream": True}), "-N"])
    assert streamed.rstrip().endswith("data: [DONE]")
    vectors = run(
        ["curl", "-sS", f"{url}/embeddings", *kind, "-d", f'{{"model":"{EMBED}","input":"a cat"}}']
    )
    assert len(json.loads(vectors)["data"][0]["embedding"]) == 384
    head = run(["curl", "-sS", "-I", f"{stack.base_url}/health"])
    assert " 200 " in head.splitlines()[0]


NODE = Path(__file__).parent / "node"


@pytest.mark.skipif(
    not (NODE / "node_modules").exists(), reason="openai-node is not installed (make develop)"
)
def test_openai_node_chats_streams_and_embeds(stack: Stack) -> None:
    """R1.1: the second official client."""
    said = json.loads(run(["node", "clients.mjs", f"{stack.base_url}/v1", CHAT, EMBED], cwd=NODE))
    assert said["chat"]
    assert said["streamed"]
    assert said["finish"] in {"stop", "length"}
    assert said["usage"]["completion_tokens"] > 0
    assert said["dimensions"] == 384
    assert said["kitten"] > said["stocks"] + 0.2
    assert said["models"] >= 2
    assert said["missing"] == {"status": 404, "code": "model_not_found", "request_id": True}


@pytest.mark.parametrize("name", ["chat.py", "search.py", "chat.sh"])
def test_an_example_runs_as_it_stands(stack: Stack, name: str) -> None:
    """R1.44: curl and the OpenAI client get their replies."""
    program = "sh" if name.endswith(".sh") else sys.executable
    address = {"OPENAI_BASE_URL": f"{stack.base_url}/v1"}
    said = run([program, ROOT / "examples" / name], env=environment(address))
    assert said.strip()
    if name == "search.py":
        assert said.strip() == "the kitten sleeps"
    if name == "chat.sh":
        assert said.rstrip().endswith("data: [DONE]")


async def test_every_answer_has_a_request_id(stack: Stack) -> None:
    body = {"model": CHAT, "messages": HELLO, "max_tokens": 2}
    path = "/v1/chat/completions"
    own = await ask(stack.gateway, "POST", path, body, {"x-request-id": "mine-1"})
    assert own.headers["x-request-id"] == "mine-1"
    answers = [
        await ask(stack.gateway, "POST", path, body),
        await ask(stack.gateway, "POST", path, {**body, "stream": True}),
        await ask(stack.gateway, "POST", path, b"{"),
        await ask(stack.gateway, "GET", "/nowhere"),
        await ask(stack.gateway, "GET", "/health"),
        await ask(stack.gateway, "PUT", path),
    ]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert all(ids)
    assert len(set(ids)) == len(ids)


async def test_the_engine_s_own_numbers_are_told_by_its_neuron(stack: Stack) -> None:
    """R1.42: under our names, whatever the engine calls them."""
    body = {"model": CHAT, "messages": HELLO, "max_tokens": 4}
    assert (await ask(stack.gateway, "POST", "/v1/chat/completions", body)).status == 200
    numbers: dict[str, float] = {}

    async def told() -> bool:
        page = (await ask(stack.api["n1"], "GET", "/metrics")).body.decode()
        found = re.findall(rf'^helexa_engine_(\w+){{model="{CHAT}"}} (\S+)$', page, re.MULTILINE)
        numbers.update({name: float(value) for name, value in found})
        return numbers.get("generation_tokens_total", 0.0) >= 4

    async with asyncio.timeout(30):
        while not await told():
            await asyncio.sleep(0.5)
    assert numbers["prompt_tokens_total"] > 4
    assert numbers["requests_running"] == 0
    assert numbers["rss_bytes"] > 100 << 20
