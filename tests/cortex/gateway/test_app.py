"""The gateway put together, over real sockets, with a neuron that is a script."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from helexa.cortex.gateway.app import Door, Gateway
from helexa.cortex.gateway.auth import OpenDoor
from helexa.cortex.gateway.edge.limits import Limits
from helexa.cortex.gateway.metering import BECAUSE_CHARS_MAX
from helexa.cortex.gateway.observe import LINES_PER_SECOND
from helexa.cortex.gateway.overhead import SAMPLE_EVERY
from helexa.cortex.gateway.pipeline import Seams
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.tunnel import Stream, StreamHandler
from helexa.util.clock import Clock, SystemClock
from helexa.util.metrics import PrometheusMetrics
from tests.fakes.gateway import CHUNK, DONE, FakeNeuron, Settings, snapshot_of

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


class Lines:
    """A log of warnings, and of nothing else."""

    def __init__(self) -> None:
        self.warnings: list[dict[str, object]] = []

    def warning(self, event: str, **fields: object) -> None:
        self.warnings.append({"event": event, **fields})

    def error(self, event: str, **fields: object) -> None:
        raise AssertionError(event, fields)


class House:
    """A served gateway and its one neuron, which answers when told to."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.neuron = FakeNeuron("n1")
        self.faulty = False
        self.log = Lines()
        clock = clock or SystemClock()
        seams = Seams(
            snapshot=lambda: snapshot_of("n1"),
            report=lambda _event: None,
            open_stream=self._open,
            now=clock.monotonic,
            record=lambda _record: None,
        )
        self.gateway = Gateway(
            seams,
            OpenDoor(),
            Settings(requests_in_flight_max=2 * SAMPLE_EVERY),
            Door(Limits(), PrometheusMetrics(), ("https://chat.example.org",)),
            clock=clock,
            logger=self.log,
        )
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def _open(
        self, _neuron_id: str, _epoch: int, head: bytes, body: bytes, handler: StreamHandler
    ) -> Stream | None:
        if self.faulty:
            raise ZeroDivisionError
        stream = self.neuron.cortex_end.open(head, body, handler)
        self.neuron.carry()
        return stream

    async def job(self) -> None:
        async with asyncio.timeout(5):
            while not self.neuron.jobs:
                await asyncio.sleep(0.005)

    async def begin(
        self, client: aiohttp.ClientSession, count: int
    ) -> list[aiohttp.ClientResponse]:
        """Send so many requests; all get their status and no answer yet."""
        loop = asyncio.get_running_loop()
        answers = []
        for number in range(count):
            asked = loop.create_task(client.post(f"{self.url}/v1/chat/completions", json=BODY))
            async with asyncio.timeout(5):
                while len(self.neuron.jobs) == number:
                    await asyncio.sleep(0.001)
            self.neuron.jobs[-1].begin()
            answers.append(await asked)
        return answers


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    await house.gateway.start([house.socket])
    yield house
    await house.gateway.close()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=200)) as session:
        yield session


async def test_a_stream_goes_through_as_it_is(house: House, client: aiohttp.ClientSession) -> None:
    """R1.4, R3.6: chat completions over HTTP, streamed, ending in [DONE]."""
    loop = asyncio.get_running_loop()
    asked = loop.create_task(client.post(f"{house.url}/v1/chat/completions", json=BODY))
    await house.job()
    job = house.neuron.jobs[0]
    job.begin()
    job.say(CHUNK * 3 + DONE)
    job.end()
    answer = await asked
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert await answer.read() == CHUNK * 3 + DONE


async def test_errors_come_in_the_envelope_with_their_headers(
    house: House, client: aiohttp.ClientSession
) -> None:
    async with client.get(f"{house.url}/v1/chat/completions") as answer:
        assert (answer.status, answer.headers["allow"]) == (405, "POST, OPTIONS")
        assert (await answer.json())["error"]["code"] == "method_not_allowed"
        assert answer.headers["x-request-id"]
    async with client.post(f"{house.url}/v1/chat/completions", data=b"{") as answer:
        assert answer.status == 415
    headers = {"content-type": "application/json", "origin": "https://chat.example.org"}
    async with client.post(
        f"{house.url}/v1/chat/completions", data=b"{", headers=headers
    ) as answer:
        assert answer.status == 400
        assert answer.headers["access-control-allow-origin"] == "https://chat.example.org"


async def test_what_is_refused_unread_leaves_a_warning_with_its_reason(
    house: House, client: aiohttp.ClientSession
) -> None:
    """Lesson 3: a body of a wrong type never reaches a handler, and must be found all the same."""
    plain = {"content-type": "text/plain"}
    async with client.post(f"{house.url}/v1/chat/completions", data=b"x", headers=plain) as answer:
        assert answer.status == 415
    (told,) = house.log.warnings
    assert (told["code"], told["status"]) == ("unsupported_media_type", 415)
    assert "text/plain" in str(told["because"])


class Still(SystemClock):
    """It is always the same moment."""

    monotonic = staticmethod(lambda: 5.0)


def test_a_flood_of_refusals_does_not_fill_the_log() -> None:
    house = House(Still())
    house.socket.close()
    for _ in range(LINES_PER_SECOND + 50):
        house.gateway._refuse(None, Refusal(ErrorCode.BAD_REQUEST, "x" * 5000))
    assert len(house.log.warnings) == LINES_PER_SECOND
    assert len(str(house.log.warnings[0]["because"])) == BECAUSE_CHARS_MAX


async def test_a_bug_costs_one_request_and_leaks_nothing(
    house: House, client: aiohttp.ClientSession
) -> None:
    house.faulty = True
    async with client.post(f"{house.url}/v1/chat/completions", json=BODY) as answer:
        assert answer.status == 500
        text = await answer.text()
    assert json.loads(text)["error"]["code"] == "internal_error"
    assert "ZeroDivision" not in text
    assert len(house.gateway.pipeline) == 0
    async with client.get(f"{house.url}/health") as answer:
        assert answer.status == 200


async def test_a_drain_waits_for_what_runs_and_refuses_what_comes(
    house: House, client: aiohttp.ClientSession
) -> None:
    """R0.31: one shutdown path, in bounded time."""
    running = asyncio.get_running_loop().create_task(
        client.post(f"{house.url}/v1/chat/completions", json=BODY)
    )
    await house.job()
    drain = asyncio.get_running_loop().create_task(house.gateway.drain(5))
    await asyncio.sleep(0)
    async with client.post(f"{house.url}/v1/chat/completions", json=BODY) as refused:
        assert (refused.status, refused.headers["retry-after"]) == (503, "15")
    job = house.neuron.jobs[0]
    job.begin()
    job.say(CHUNK + DONE)
    job.end()
    answer = await running
    assert await answer.read() == CHUNK + DONE
    await drain


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/v1/nothing", 404), ("PUT", "/v1/models", 405), ("POST", "/v1/embeddings", 415)],
)
async def test_a_page_of_an_allowed_origin_may_read_refusals_too(
    house: House, client: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    """Without these lines a browser tells its page of a network error, and not what is wrong."""
    url = house.url + path
    for origin in ("https://chat.example.org", "https://evil.example"):
        headers = {"origin": origin, "content-type": "text/plain"}
        async with client.request(method, url, headers=headers, data=b"x") as answer:
            assert answer.status == status
            allowed = answer.headers.get("access-control-allow-origin")
            assert allowed == (origin if "chat" in origin else None)


async def test_metrics_are_brought_up_to_date_when_they_are_asked_for(
    house: House, client: aiohttp.ClientSession
) -> None:
    """R1.42. Of the requests some are timed, those that reach the neuron stage by stage."""
    answers = await house.begin(client, SAMPLE_EVERY)
    async with client.get(f"{house.url}/metrics") as answer:
        text = await answer.text()
    assert f"helexa_streams_open {SAMPLE_EVERY}.0" in text
    assert f'helexa_requests_inflight{{model="m"}} {SAMPLE_EVERY}.0' in text
    for stage in ("admission", "parse", "dispatch"):
        assert f'helexa_overhead_seconds_count{{stage="{stage}"}} 1.0' in text
    for begun in answers:
        begun.close()
