"""Serving a small app on a bound socket, and stopping."""

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
