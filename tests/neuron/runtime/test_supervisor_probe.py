"""Readiness: health and a canary, against a real HTTP server."""

import asyncio

import pytest
from aiohttp import web

from helexa.model_runtime.interfaces import Probe
from helexa.neuron.registry.commands import RunningModel
from helexa.neuron.runtime.supervisor_probe import POLL_S, ProbeFailedError, Prober
from helexa.protocol.ids import ModelId
from helexa.protocol.model import ModelCapability, ModelConfig
from helexa.util.clock import SystemClock
from tests.fakes.http_server import serving

FULL = Probe(health_path="/health", canary_path="/v1/chat/completions", canary_body=b"{}")
CANARY_ONLY = Probe(health_path=None, canary_path="/v1/chat/completions", canary_body=b"{}")
GOOD = {"choices": [{"index": 0}]}


@pytest.fixture
async def prober():
    made = Prober(SystemClock())
    yield made
    await made.close()


def model_at(endpoint: str) -> RunningModel:
    config = ModelConfig(id=ModelId("m"), engine="tiny")
    headers = {"authorization": "Bearer key"}
    return RunningModel(config.id, "tiny", endpoint, headers, config, ModelCapability(), "m#1", 1)


async def test_health_is_polled_then_the_canary_is_sent_with_the_key(prober):
    async def answer(request):
        if request.path == "/health":
            return web.Response(status=503 if len(served.asked) < 3 else 200)
        return web.json_response(GOOD)

    async with serving(answer) as served:
        await prober.ready(model_at(served.endpoint), FULL, 20.0)
    methods = [(method, path) for method, path, _ in served.asked]
    assert methods == [("GET", "/health")] * 3 + [("POST", "/v1/chat/completions")]
    assert all(headers["authorization"] == "Bearer key" for _, _, headers in served.asked)


async def test_a_server_that_only_answers_its_inference_route_is_ready(prober):
    async def answer(request):
        if request.path == "/v1/chat/completions":
            return web.json_response(GOOD)
        return web.Response(status=404)

    async with serving(answer) as served:
        model = model_at(served.endpoint)
        await prober.ready(model, CANARY_ONLY, 20.0)
        await prober.check(model, CANARY_ONLY, 5.0)
    assert [path for _, path, _ in served.asked] == ["/v1/chat/completions", "/"]


async def test_a_canary_that_is_told_to_wait_is_sent_again(prober):
    async def answer(request):
        if request.path == "/health":
            return web.Response()
        return web.json_response(GOOD, status=503 if len(served.asked) < 4 else 200)

    async with serving(answer) as served:
        await prober.ready(model_at(served.endpoint), FULL, 20.0)
    assert [path for _, path, _ in served.asked].count("/v1/chat/completions") == 2


@pytest.mark.parametrize(
    ("status", "body", "word"),
    [
        (500, '{"error":"Triton kernels require CUDA"}', "500.*Triton"),
        (404, "Not Found", "404"),
        (200, '{"error":{"message":"x"}}', "without a result"),
        (200, "<html>welcome</html>", "without a result"),
        (200, "{}", "without a result"),
        (200, "[" * 50_000, "without a result"),
        (302, "", "302"),
    ],
)
async def test_a_canary_that_fails_is_final_and_told(prober, status, body, word):
    async def answer(request):
        if request.path == "/health":
            return web.Response()
        return web.Response(status=status, text=body, headers={"location": "http://127.0.0.1:1"})

    async with serving(answer) as served:
        with pytest.raises(ProbeFailedError, match=word):
            await prober.ready(model_at(served.endpoint), FULL, 20.0)
    assert len(served.asked) == 2


async def test_an_answer_without_end_is_read_only_so_far(prober):
    async def answer(request):
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        except ConnectionError:
            return response

    async with serving(answer) as served:
        model = model_at(served.endpoint)
        await prober.check(model, FULL, 10.0)


async def test_an_engine_that_accepts_and_never_answers_runs_into_the_deadline(prober):
    async def answer(request):
        await asyncio.sleep(3600)
        raise AssertionError("unreachable")

    async with serving(answer) as served:
        model = model_at(served.endpoint)
        with pytest.raises(ProbeFailedError, match="no answer in time"):
            await prober.ready(model, FULL, 0.2)
        with pytest.raises(ProbeFailedError, match="no answer in time"):
            await prober.check(model, CANARY_ONLY, 0.1)


async def test_nobody_listening_is_told(prober):
    model = model_at("http://127.0.0.1:9")
    with pytest.raises(ProbeFailedError, match="not ready within 0.3 s.*127.0.0.1"):
        await prober.ready(model, FULL, 0.3)
    with pytest.raises(ProbeFailedError, match=r"127\.0\.0\.1"):
        await prober.check(model, FULL, 5.0)


async def test_a_check_of_a_sick_engine_tells_its_status(prober):
    async def answer(request):
        return web.Response(status=500)

    async with serving(answer) as served:
        with pytest.raises(ProbeFailedError, match="GET /health answered 500"):
            await prober.check(model_at(served.endpoint), FULL, 5.0)


def test_requests_that_are_held_lose_little_to_the_pause_between_two_looks() -> None:
    """Of the 50 ms that a held request may wait beyond its model's load (`bench.holding`)."""
    assert POLL_S <= 0.02
