"""What engines tell, asked of a real HTTP server that stands for them."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from helexa.model_runtime.interfaces import Instruments
from helexa.neuron.runtime.engine_metrics import PAGE_BYTES_MAX, EngineMetrics
from helexa.protocol.ids import ModelId
from helexa.util.metrics import PrometheusMetrics
from helexa.util.tasks import TaskScope
from tests.fakes.http_server import serving
from tests.fakes.plain_engine import PlainEngine
from tests.neuron.runtime.test_supervisor_probe import model_at

PAGE = (Path(__file__).parents[2] / "replays" / "engines" / "llamacpp.txt").read_bytes()
WAIT_S = 20.0


class TalkativeEngine(PlainEngine):
    instruments = Instruments("/metrics", "/props", "build_info")


class Bench:
    """The metrics of the engines in `running`, at a time that the test sets."""

    def __init__(self, tasks: TaskScope) -> None:
        self.running = []
        self.now_s = 0.0
        self.metrics = PrometheusMetrics()
        self.told = EngineMetrics(
            self.metrics,
            lambda: self.running,
            {"tiny": TalkativeEngine(), "plain": PlainEngine()},
            tasks=tasks,
            now=lambda: self.now_s,
        )

    async def lines(self, wait_s: float = WAIT_S) -> set[str]:
        await self.told.collect(wait_s)
        text = self.metrics.render().decode()
        return {line for line in text.splitlines() if line.startswith("helexa_engine_")}


@pytest.fixture
async def bench():
    tasks = TaskScope(lambda name, error: pytest.fail(f"{name}: {error}"))
    made = Bench(tasks)
    yield made
    await tasks.close()
    await made.told.close()


async def tell_all(request):
    if request.path == "/metrics":
        return web.Response(body=PAGE)
    return web.json_response({"build_info": "b123-" + "x" * 100})


async def test_an_engine_is_told_under_our_names_with_its_memory_and_version(bench):
    async with serving(tell_all) as served:
        bench.running = [(model_at(served.endpoint), lambda: 4096)]
        lines = await bench.lines()
    version = ("b123-" + "x" * 100)[:64]
    assert lines == {
        f'helexa_engine_info{{engine="tiny",model="m",version="{version}"}} 1.0',
        'helexa_engine_rss_bytes{model="m"} 4096.0',
        'helexa_engine_requests_running{model="m"} 0.0',
        'helexa_engine_requests_waiting{model="m"} 0.0',
        'helexa_engine_prompt_tokens_total{model="m"} 66.0',
        'helexa_engine_prompt_tokens_cached_total{model="m"} 32.0',
        'helexa_engine_generation_tokens_total{model="m"} 16.0',
    }
    assert all(headers["authorization"] == "Bearer key" for _, _, headers in served.asked)


async def test_it_is_asked_seldom_and_for_its_version_once(bench):
    async with serving(tell_all) as served:
        bench.running = [(model_at(served.endpoint), None)]
        for _ in range(5):
            await bench.lines()
        assert [path for _, path, _ in served.asked] == ["/metrics", "/props"]
        bench.now_s += 3600
        await bench.lines()
    assert [path for _, path, _ in served.asked] == ["/metrics", "/props", "/metrics"]


async def test_an_engine_of_which_nothing_is_known_is_not_asked(bench):
    async with serving(tell_all) as served:
        bench.running = [(replace(model_at(served.endpoint), engine="plain"), lambda: 7)]
        lines = await bench.lines()
    assert lines == {
        'helexa_engine_info{engine="plain",model="m",version=""} 1.0',
        'helexa_engine_rss_bytes{model="m"} 7.0',
    }
    assert served.asked == []


async def test_one_that_hangs_hides_no_other_and_one_that_ends_takes_its_series_along(bench):
    async def answer(request):
        if request.headers["authorization"] == "Bearer silent":
            await asyncio.sleep(3600)
        return await tell_all(request)

    async with serving(answer) as served:
        good = model_at(served.endpoint)
        silent = replace(
            good, model_id=ModelId("s"), attempt=2, headers={"authorization": "Bearer silent"}
        )
        bench.running = [(good, None), (silent, None)]
        lines: set[str] = set()
        while 'helexa_engine_requests_running{model="m"} 0.0' not in lines:
            bench.now_s += 2.0  # whatever a busy machine did not answer in time is asked again
            lines = await bench.lines(0.05)
        assert 'helexa_engine_info{engine="tiny",model="s",version=""} 1.0' in lines
        assert not any("running" in line and 'model="s"' in line for line in lines)
        bench.running = [(silent, None)]
        assert not any('model="m"' in line for line in await bench.lines(0.0))


@pytest.mark.parametrize(
    ("status", "page", "props"),
    [(200, b"<html>", b"[1]"), (404, PAGE, b"{"), (200, b"\xff\x00", b'{"build_info":7}')],
)
async def test_an_answer_that_makes_no_sense_is_left_out(bench, status, page, props):
    async def answer(request):
        if request.path == "/metrics":
            return web.Response(status=status, body=page)
        return web.Response(body=props)

    async with serving(answer) as served:
        bench.running = [(model_at(served.endpoint), None)]
        assert await bench.lines() == {'helexa_engine_info{engine="tiny",model="m",version=""} 1.0'}


async def test_of_a_page_without_end_only_whole_lines_are_read(bench):
    line = b"llamacpp:requests_processing 1234\n"
    cut = b"llamacpp:requests_deferred 777777"
    page = b"#" * (PAGE_BYTES_MAX - len(line) - len(cut) + 2) + b"\n" + line + cut

    async def answer(_request):
        return web.Response(body=page * 2)

    async with serving(answer) as served:
        bench.running = [(model_at(served.endpoint), None)]
        lines = await bench.lines()
    assert 'helexa_engine_requests_running{model="m"} 1234.0' in lines
    assert not any("waiting" in line for line in lines)
