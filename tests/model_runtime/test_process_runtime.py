import asyncio
import base64
import struct
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from helexa.model_runtime.interfaces import InferenceError
from helexa.model_runtime.process_runtime import ProcessRuntime
from helexa.protocol.errors import ErrorCode
from helexa.protocol.inference import (
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Usage,
)
from tests.fakes.llama_stream import DONE, chat, delta
from tests.fakes.waiting import until

CHAT = ChatRequest(model="m", messages=(ChatMessage(role="user", content="hi"),), max_tokens=4)
ANSWER = {
    "choices": [{"message": {"role": "assistant", "content": "hey"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3},
}


class Engine:
    """A small HTTP server that answers as it is told and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked = []
        self.status = 200
        self.answer = ANSWER
        self.body = b""
        self.silent = False
        self.gone = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append((request.path, await request.json(), headers))
        try:
            if self.silent:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.gone += 1
            raise
        if self.body:
            return web.Response(body=self.body, content_type="text/event-stream")
        return web.json_response(self.answer, status=self.status)


@asynccontextmanager
async def serving(**settings):
    engine = Engine()
    app = web.Application()
    app.router.add_post("/{path:.*}", engine.handle)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as session:
        options = {"timeout_s": 20.0, **settings}
        yield ProcessRuntime(session, f"http://127.0.0.1:{port}/", **options), engine
    await runner.cleanup()


async def test_a_chat_becomes_a_post_and_its_reply_an_answer():
    """R0.20"""
    async with serving(headers={"authorization": "Bearer k"}) as (runtime, engine):
        answer = await runtime.chat(CHAT)
    assert (answer.text, answer.finish_reason) == ("hey", "stop")
    assert answer.usage == Usage(prompt_tokens=2, completion_tokens=1)
    path, body, headers = engine.asked[0]
    assert path == "/v1/chat/completions"
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    assert (body["model"], body["max_tokens"], body["stream"]) == ("m", 4, False)
    assert headers["authorization"] == "Bearer k"


async def test_the_model_can_be_overridden():
    """R0.20"""
    async with serving(model="real") as (runtime, engine):
        await runtime.chat(CHAT)
        await runtime.caption(b"img", "image/png", "what?")
    assert [body["model"] for _, body, _ in engine.asked] == ["real", "real"]


async def test_a_stream_yields_its_text():
    async with serving() as (runtime, engine):
        engine.body = chat("Hi", " é🙂")
        assert [piece async for piece in runtime.chat_stream(CHAT)] == ["Hi", " é🙂"]
        assert engine.asked[0][1]["stream"] is True


async def test_a_stream_without_its_end_mark_raises_after_what_it_said():
    async with serving() as (runtime, engine):
        engine.body = delta(content="so far")
        pieces = runtime.chat_stream(CHAT)
        assert await anext(pieces) == "so far"
        with pytest.raises(InferenceError) as caught:
            await anext(pieces)
        assert caught.value.code is ErrorCode.UPSTREAM_CONNECTION_ERROR


async def test_an_error_in_a_stream_raises():
    async with serving() as (runtime, engine):
        engine.body = delta(content="x") + b'data: {"error":{"message":"boom"}}\n\n' + DONE
        with pytest.raises(InferenceError) as caught:
            async for _ in runtime.chat_stream(CHAT):
                pass
        assert caught.value.code is ErrorCode.INTERNAL_ERROR
        assert "boom" not in str(caught.value)


async def test_a_completion_and_a_caption():
    """R0.21, R0.23"""
    async with serving() as (runtime, engine):
        engine.answer = {"choices": [{"text": " more", "finish_reason": "length"}]}
        answer = await runtime.complete(CompletionRequest(model="m", prompt="once"))
        assert (answer.text, answer.finish_reason, answer.usage) == (" more", "length", None)
        engine.answer = ANSWER
        assert (await runtime.caption(b"\x89", "image/png", "what?")).text == "hey"
    content = engine.asked[1][1]["messages"][0]["content"]
    assert content[1]["image_url"]["url"] == "data:image/png;base64,iQ=="


async def test_vectors_come_in_input_order_as_numbers_or_packed():
    """R0.22"""
    async with serving() as (runtime, engine):
        packed = base64.b64encode(struct.pack("<2f", 0.5, 0.25)).decode()
        engine.answer = {
            "data": [{"index": 1, "embedding": packed}, {"index": 0, "embedding": [1, 0]}],
            "usage": {"prompt_tokens": 2, "total_tokens": 2},
        }
        answer = await runtime.embed(EmbeddingRequest(model="m", input=["a", "b"]))
    assert answer.vectors == ((1.0, 0.0), (0.5, 0.25))
    assert answer.usage.prompt_tokens == 2


@pytest.mark.parametrize(
    ("status", "error", "code", "retryable"),
    [
        (400, {"message": "bad", "type": "x"}, ErrorCode.INVALID_REQUEST_BODY, False),
        (
            400,
            {"message": "long", "type": "exceed_context_size_error"},
            ErrorCode.CONTEXT_LENGTH_EXCEEDED,
            False,
        ),
        (500, {"message": "boom"}, ErrorCode.INTERNAL_ERROR, False),
        (503, {"message": "Loading model"}, ErrorCode.MODEL_LOADING, True),
        (302, {}, ErrorCode.ENGINE_GARBAGE, False),
    ],
)
async def test_an_error_status_becomes_an_error_with_its_meaning(status, error, code, retryable):
    """R0.20"""
    async with serving() as (runtime, engine):
        engine.status, engine.answer = status, {"error": error}
        with pytest.raises(InferenceError) as caught:
            await runtime.chat(CHAT)
    assert (caught.value.code, caught.value.retryable) == (code, retryable)


@pytest.mark.parametrize(
    "answer", [[], {"choices": []}, {"choices": [{"message": 7}]}, {"data": []}]
)
async def test_an_answer_that_is_none_is_garbage(answer):
    async with serving() as (runtime, engine):
        engine.answer = answer
        with pytest.raises(InferenceError) as caught:
            await runtime.chat(CHAT)
    assert caught.value.code is ErrorCode.ENGINE_GARBAGE


async def test_vectors_that_are_none_are_garbage():
    async with serving() as (runtime, engine):
        for data in ([{"embedding": "!!"}], [{"embedding": "AAA="}], 7):
            engine.answer = {"data": data}
            with pytest.raises(InferenceError) as caught:
                await runtime.embed(EmbeddingRequest(model="m", input="x"))
            assert caught.value.code is ErrorCode.ENGINE_GARBAGE, data


async def test_a_silent_engine_times_out():
    """R0.20"""
    async with serving(timeout_s=0.05) as (runtime, engine):
        engine.silent = True
        with pytest.raises(InferenceError) as caught:
            await runtime.chat(CHAT)
    assert caught.value.code is ErrorCode.UPSTREAM_TIMEOUT


async def test_nobody_listening_is_a_connection_error_that_names_no_address():
    async with aiohttp.ClientSession() as session:
        runtime = ProcessRuntime(session, "http://127.0.0.1:9", timeout_s=5.0)
        with pytest.raises(InferenceError) as caught:
            await runtime.chat(CHAT)
    assert caught.value.code is ErrorCode.UPSTREAM_CONNECTION_ERROR
    assert caught.value.retryable
    assert "127.0.0.1" not in str(caught.value)
    assert caught.value.__cause__ is not None


async def test_cancelling_closes_the_connection():
    """R0.19"""
    async with serving() as (runtime, engine):
        engine.silent = True
        asking = asyncio.get_running_loop().create_task(runtime.chat(CHAT))
        await until(lambda: engine.asked, "the engine was asked")
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: engine.gone == 1, "the engine saw the caller leave")
