"""Serving a small app on a bound socket, and stopping."""

import asyncio
import socket
from typing import Any

import aiohttp
import pytest

from helexa.util.asgi import AsgiServer
from tests.fakes.control_plane import recording_logger


async def hello(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def test_it_serves_until_it_is_closed() -> None:
    log: list[dict[str, Any]] = []
    bound = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{bound.getsockname()[1]}/"
    server = AsgiServer(hello, "test", recording_logger(log))
    await server.start([bound])
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert await answer.text() == "hello"
        assert "server" not in answer.headers
    await server.close()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(url)
    assert log == []


async def test_closing_does_not_wait_for_idle_connections() -> None:
    bound = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{bound.getsockname()[1]}/"
    server = AsgiServer(hello, "test", recording_logger([]))
    await server.start([bound])
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as answer:
            await answer.read()
        await server.close()


@pytest.mark.parametrize("said", [
    b"", b"GET / HT",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf",
])  # fmt: skip
async def test_who_says_nothing_more_is_cut_off(said: bytes) -> None:
    """256 connections that sent half a request kept the operator out for as long as they liked."""
    bound = socket.create_server(("127.0.0.1", 0))
    server = AsgiServer(hello, "test", recording_logger([]), idle_s=0.05)
    await server.start([bound])
    reader, writer = await asyncio.open_connection(*bound.getsockname())
    writer.write(said)
    answer = await asyncio.wait_for(reader.read(), 10)
    assert answer.endswith(b"hello\r\n0\r\n\r\n") == said.startswith(b"POST")
    writer.close()
    await server.close()


async def test_who_is_being_answered_is_not_cut_off() -> None:
    release = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        await hello(scope, receive, send)

    bound = socket.create_server(("127.0.0.1", 0))
    server = AsgiServer(slow, "test", recording_logger([]), idle_s=0.01)
    await server.start([bound])
    asyncio.get_running_loop().call_later(0.2, release.set)
    url = f"http://127.0.0.1:{bound.getsockname()[1]}/"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert await answer.text() == "hello"
    await server.close()
