"""Questions to an engine, against a real HTTP server."""

import asyncio

import pytest
from aiohttp import web

from helexa.neuron.runtime.engine_asking import ANSWER_BYTES_MAX, ASKING_ERRORS, EngineAsker
from tests.fakes.http_server import serving
from tests.neuron.runtime.test_supervisor_probe import model_at


@pytest.fixture
async def asker():
    made = EngineAsker()
    yield made
    await made.close()


async def test_a_question_carries_the_engine_s_key_and_gets_status_and_body(asker):
    async def answer(request):
        return web.Response(status=418, body=await request.read())

    async with serving(answer) as served:
        answered = await asker.ask("POST", model_at(served.endpoint), "/x", b"body", 20.0)
    assert answered == (418, b"body")
    [(method, path, headers)] = served.asked
    assert (method, path, headers["authorization"]) == ("POST", "/x", "Bearer key")


async def test_an_answer_is_read_up_to_its_bound(asker):
    async def answer(_request):
        return web.Response(body=b"x" * (ANSWER_BYTES_MAX * 2))

    async with serving(answer) as served:
        model = model_at(served.endpoint)
        _, body = await asker.ask("GET", model, "/", None, 20.0)
        assert len(body) == ANSWER_BYTES_MAX
        _, body = await asker.ask("GET", model, "/", None, 20.0, bytes_max=10)
        assert len(body) == 10


async def test_a_redirect_is_an_answer_and_silence_an_error(asker):
    async def answer(request):
        if request.path == "/silent":
            await asyncio.sleep(3600)
        return web.Response(status=302, headers={"location": "/elsewhere"})

    async with serving(answer) as served:
        model = model_at(served.endpoint)
        assert (await asker.ask("GET", model, "/", None, 20.0))[0] == 302
        with pytest.raises(ASKING_ERRORS):
            await asker.ask("GET", model, "/silent", None, 0.05)
    with pytest.raises(ASKING_ERRORS):
        await asker.ask("GET", model_at("http://127.0.0.1:9"), "/", None, 20.0)
