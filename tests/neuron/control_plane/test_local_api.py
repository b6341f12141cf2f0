"""The neuron's own API, over real sockets."""

import asyncio
import socket
from contextlib import asynccontextmanager

import aiohttp
import pytest

from helexa.neuron.control_plane.local_api import ApiServer, bind, guarded, make_app
from helexa.protocol.neuron import NeuronHealth
from helexa.protocol.version import VERSION
from helexa.util.build import identity
from helexa.util.errors import LimitError
from helexa.util.tasks import TaskScope
from tests.fakes.exchange_log import until


async def tell_metrics():
    return b"metric 1\n"


@asynccontextmanager
async def api(problems=(), metrics=tell_metrics, loopback=True):
    failures = []
    tasks = TaskScope(lambda name, error: failures.append(error))
    app = make_app(lambda: NeuronHealth(problems=problems), lambda: {"a": 1}, metrics)
    server = ApiServer(guarded(app, loopback=loopback), bind("127.0.0.1", 0))
    running = tasks.start(server.run_until_stopped(), "api")
    await until(lambda: server.started or running.done(), "the server to start")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as http:
        yield http
    server.stop()
    await until(running.done, "the server to stop")
    await tasks.close()
    assert failures == []


async def test_health_says_ok_or_what_is_impaired():
    """Lesson 32: "impaired" comes with a list."""
    async with api() as http, http.get("/health") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ok"})
    async with api(("no memory",)) as http, http.get("/health") as answer:
        assert await answer.json() == {"status": "impaired", "problems": ["no memory"]}


async def test_status_and_metrics_are_told():
    async with api() as http:
        async with http.get("/status") as answer:
            assert (answer.content_type, await answer.json()) == ("application/json", {"a": 1})
        async with http.get("/metrics") as answer:
            assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert await answer.read() == b"metric 1\n"


async def test_the_build_is_told():
    """Lesson 60."""
    async with api() as http, http.get("/version") as answer:
        assert await answer.json() == {**identity(), "protocol": VERSION}


async def test_head_is_answered_like_get_without_a_body():
    async with api() as http:
        for path in ("/health", "/status", "/metrics"):
            async with http.head(path) as answer:
                assert answer.status == 200
                assert int(answer.headers["content-length"]) > 0
                assert await answer.read() == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_405_and_say_which_are_allowed(method):
    async with api() as http, http.request(method, "/health") as answer:
        assert answer.status == 405
        assert sorted(answer.headers["allow"].split(", ")) == ["GET", "HEAD"]
        assert (await answer.json())["error"]["code"] == "method_not_allowed"
        assert "access-control-allow-origin" not in answer.headers


async def test_other_paths_are_404_in_the_one_envelope():
    async with api() as http, http.get("/v1/chat/completions") as answer:
        assert answer.status == 404
        assert (await answer.json())["error"]["code"] == "route_not_found"


async def test_metrics_that_are_off_are_not_there():
    async with api(metrics=None) as http, http.get("/metrics") as answer:
        assert answer.status == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8060", 200), ("127.0.0.1", 200), ("[::1]:8060", 200), ("LOCALHOST", 200),
        ("evil.example:8060", 403), ("127.0.0.1.evil.example", 403), ("localhost@evil", 403),
    ],
)  # fmt: skip
async def test_on_loopback_only_loopback_names_are_answered(host, status):
    """S17, S20: a page whose name was pointed at 127.0.0.1 reads nothing."""
    async with api() as http, http.get("/status", headers={"host": host}) as answer:
        assert answer.status == status
        assert b'"a"' not in await answer.read() or status == 200


async def test_beyond_loopback_any_name_is_answered():
    name = {"host": "rack2.lan"}
    async with api(loopback=False) as http, http.get("/health", headers=name) as answer:
        assert answer.status == 200


async def test_two_hosts_are_refused():
    async with api() as http:
        reader, writer = await asyncio.open_connection("127.0.0.1", http._base_url.port)
        writer.write(b"GET /status HTTP/1.1\r\nhost: localhost\r\nhost: evil\r\n\r\n")
        assert (await reader.readline()).split()[1] in {b"403", b"400"}
        writer.close()


def test_a_taken_address_is_told_with_its_name():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LimitError, match=f"127.0.0.1:{port}"):
            bind("127.0.0.1", port)


def test_an_ipv6_address_can_be_listened_on():
    listener = bind("::1", 0)
    assert listener.family == socket.AF_INET6
    listener.close()
